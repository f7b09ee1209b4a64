"""The engines of a process, and how they share the connections that it may have."""

import asyncio
from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from app.db.places import Places
from app.settings import Settings

# write: requests and jobs that change something; read: those that do not; migrate: changes of the
# schema; probe: looks at how the database is, which must not queue behind requests.
Role = Literal["write", "read", "migrate", "probe"]

# What a connection's pool is noted by.
POOL = "pool"


def pool_options(settings: Settings, role: Role) -> dict[str, Any]:
    """Arguments of `create_async_engine`. The reading and the writing engine share what the
    settings allow to the process; each gets at least one connection."""
    if role == "migrate":
        return {"poolclass": NullPool}
    share = 1 if role == "read" else 0
    size = max(1, (settings.database_pool_size + share) // 2)
    overflow = (settings.database_max_overflow + share) // 2
    return {
        # The pool's own overflow is closed when it comes back, and opened again by the next who
        # waits: under load that costs more than the requests do. `close_surplus` closes it later.
        "pool_size": 1 if role == "probe" else size + overflow,
        "max_overflow": 0,
        "pool_timeout": settings.database_pool_timeout,
        "pool_recycle": settings.database_pool_recycle,
        "pool_pre_ping": settings.database_pool_pre_ping,
    }


def pool_of(engine: AsyncEngine) -> QueuePool:
    """The pool of an engine that has one."""
    assert isinstance(engine.pool, QueuePool)
    return engine.pool


def places(engine: AsyncEngine, settings: Settings) -> Places:
    """The queue for an engine's connections."""
    return Places(pool_of(engine).size(), settings.database_pool_timeout)


def close_stragglers(engine: AsyncEngine) -> None:
    """Have connections that are at work when `dispose` replaces their pool closed after it.

    SQLAlchemy leaves them, idle, to the garbage collector: with those of the new pool they would be
    more than the settings allow. Listeners that connect must come after it: who comes after them is
    not asked.
    """
    sync_engine = engine.sync_engine

    def note_pool(dialect: object, record: ConnectionPoolEntry, *arguments: object) -> None:
        record.info[POOL] = sync_engine.pool

    def close_straggler(connection: object, record: ConnectionPoolEntry) -> None:
        if record.info.get(POOL) is not sync_engine.pool:
            record.invalidate()

    event.listen(sync_engine, "do_connect", note_pool)
    event.listen(sync_engine, "checkin", close_straggler)


async def close_surplus(
    engine: AsyncEngine, places: Places, settings: Settings, *, seconds: float = 60
) -> None:
    """Close an engine's idle connections when there are more than it keeps, and so many seconds
    have passed in which that many were enough; until cancelled."""
    size, overflow = settings.database_pool_size, settings.database_max_overflow
    kept = max(1, round(pool_of(engine).size() * size / (size + overflow)))
    while True:
        places.peak = places.taken
        await asyncio.sleep(seconds)
        if places.peak <= kept < pool_of(engine).checkedin():
            # A pool can close all that are idle or none. Who needs one opens it again.
            await engine.dispose()
