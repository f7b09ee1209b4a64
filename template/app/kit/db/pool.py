"""The pools of the engines of a process."""

from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.util import greenlet_spawn

from app.kit import answers
from app.kit.db.admission import AdmissionQueue
from app.kit.settings import KitSettings

# write: requests and jobs that change something; read: those that do not; migrate: changes of the
# schema; probe: health checks, which must not queue behind requests.
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
Role = Literal["write", "read", "migrate", "probe"]


def pool_size(settings: KitSettings, role: Role) -> tuple[int, int]:
    """How many connections an engine keeps, and how many overflow connections it may open.

    The reading and the writing engine share what the settings allow to the process, unless the
    database has a single writer; each gets at least one connection.
    """
    size, overflow = settings.database_pool_size, settings.database_max_overflow
    if role == "probe" or (answers.SINGLE_WRITER and role == "write"):
        return 1, 0
    if answers.SINGLE_WRITER:
        return size, overflow
    share = 1 if role == "read" else 0
    return max(1, (size + share) // 2), (overflow + share) // 2


def pool_options(settings: KitSettings, role: Role) -> dict[str, Any]:
    """The arguments of `create_async_engine` that are about the pool."""
    if role == "migrate":
        return {"poolclass": NullPool}
    size, overflow = pool_size(settings, role)
    return {
        "pool_size": size,
        "max_overflow": overflow,
        "pool_timeout": settings.database_pool_timeout,
        "pool_recycle": settings.database_pool_recycle,
        "pool_pre_ping": settings.database_pool_pre_ping,
    }


def admission_queue(settings: KitSettings, role: Role) -> AdmissionQueue:
    """The queue for the connections of the engine with a role."""
    return AdmissionQueue(sum(pool_size(settings, role)), settings.database_pool_timeout)


async def replace_pool(engine: AsyncEngine) -> None:
    """Close an engine's connections: those that are idle now, those at work when that has ended.

    After `dispose` alone new callers would block on the old pool, to which nobody may return; and
    it leaves connections that are at work, idle after that, to the garbage collector: with those of
    the new pool they would be more than the settings allow.
    """

    def close_after_work(connection: object, record: ConnectionPoolEntry) -> None:
        record.invalidate()

    old = engine.sync_engine.pool
    await engine.dispose(close=False)
    event.listen(old, "checkin", close_after_work)
    await greenlet_spawn(old.dispose)
