"""How many connections all processes of the service may open, and whether a server has as many."""

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

from app.db.engine import MORE_CONNECTIONS, connection_limit
from app.db.errors import kind_of
from app.db.lookout import Lookout
from app.db.monitor import TIMEOUT
from app.db.pool import Role
from app.db.shares import pool_options
from app.settings import Settings

# Between two attempts to ask a server that is away, in seconds.
PAUSE = 1.0

logger = logging.getLogger(__name__)


class Need(NamedTuple):
    """What one process needs of a server."""

    server: str
    """What to call it."""
    settings: Settings
    """Those by which it is reached."""
    connections: int
    """The most that are open at a time."""


def most_connections(settings: Settings, *roles: Role) -> int:
    """The most connections of a process's engines with these roles."""
    options = [pool_options(settings, role) for role in roles]
    return sum(each["pool_size"] + each["max_overflow"] for each in options)


def needs(settings: Settings) -> list[Need]:
    """What one process needs."""
    return [Need("database", settings, most_connections(settings, "write", "read", "probe"))]


async def report(settings: Settings, needs: Iterable[Need]) -> None:
    """Log for each server how many connections all processes may open there, and warn where they
    are more than it allows; while it is away, wait for it."""
    await asyncio.gather(*(_report(settings, need) for need in needs))


async def _report(settings: Settings, need: Need) -> None:
    try:
        limit = await _ask(need.settings)
    except Exception:
        # The service does its work without knowing.
        logger.exception("%s: how many connections it allows is unknown", need.server)
        return
    number = settings.instances * settings.workers * need.connections
    found = (
        f"{need.server}: up to {number} connections (INSTANCES={settings.instances} * "
        f"WORKERS={settings.workers} * {need.connections})"
    )
    if limit is None:
        logger.info("%s; it does not say how many it allows", found)
    elif number <= limit:
        logger.info("%s; it allows %d", found, limit)
    else:
        logger.warning(
            "%s, but it allows %d: under load it will refuse some, and their requests are answered "
            "with 503. Lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW, or %s",
            found,
            limit,
            MORE_CONNECTIONS,
        )


async def _ask(settings: Settings) -> int | None:
    lookout = Lookout(settings, TIMEOUT)
    try:
        while True:
            try:
                async with lookout.look() as connection:
                    return await connection_limit(settings, connection)
            except Exception as error:
                if kind_of(error) is None:
                    raise
            await asyncio.sleep(PAUSE)
    finally:
        await lookout.close()
