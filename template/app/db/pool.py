"""The pools of the engines of a process."""

import asyncio
from typing import Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util import greenlet_spawn

from app.db.places import Places
from app.settings import Settings

# write: requests and jobs that change something; read: those that do not; migrate: changes of the
# schema; probe: looks at how the database is, which must not queue behind requests.
Role = Literal["write", "read", "migrate", "probe"]


def pool_of(engine: AsyncEngine) -> QueuePool:
    """The pool of an engine that has one."""
    assert isinstance(engine.pool, QueuePool)
    return engine.pool


def places(engine: AsyncEngine, settings: Settings) -> Places:
    """The queue for an engine's connections."""
    return Places(pool_of(engine).size(), settings.database_pool_timeout)


async def replace_pool(engine: AsyncEngine) -> None:
    """Close an engine's connections: those that are idle now, those at work when that has ended.

    `dispose` alone would have who comes meanwhile wait in the old pool, to which nobody may return;
    and it leaves connections that are at work, idle after that, to the garbage collector: with
    those of the new pool they would be more than the settings allow.
    """

    def close_after_work(connection: object, record: ConnectionPoolEntry) -> None:
        record.invalidate()

    old = engine.sync_engine.pool
    await engine.dispose(close=False)
    event.listen(old, "checkin", close_after_work)
    await greenlet_spawn(old.dispose)


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
            await replace_pool(engine)
