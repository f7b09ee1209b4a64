"""The connection pools of a process."""

from typing import Any, Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.util import greenlet_spawn

from app.kit import answers
from app.kit.db.admission import AdmissionQueue
from app.kit.settings import KitSettings

# write: requests and jobs that write; read: those that only read; migrate: schema changes; probe:
# health checks, which must not queue behind requests.
Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
Role = Literal["write", "read", "migrate", "probe"]


def pool_size(settings: KitSettings, role: Role) -> tuple[int, int]:
    """The pool size and the maximum overflow of an engine.

    The reading and the writing engine share the connections of the process equally, unless the
    database has a single writer; each has at least one.
    """
    size, overflow = settings.database_pool_size, settings.database_max_overflow
    if role == "probe" or (answers.SINGLE_WRITER and role == "write"):
        return 1, 0
    if answers.SINGLE_WRITER:
        return size, overflow
    share = 1 if role == "read" else 0
    return max(1, (size + share) // 2), (overflow + share) // 2


def pool_options(settings: KitSettings, role: Role) -> dict[str, Any]:
    """The pool arguments of `create_async_engine`."""
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
    """The admission queue of the engine with this role."""
    return AdmissionQueue(sum(pool_size(settings, role)), settings.database_pool_timeout)


async def replace_pool(engine: AsyncEngine) -> None:
    """Replace an engine's pool: close idle connections now and the others when they are returned.

    After `dispose` alone, new callers could block on the old pool; and it leaves connections in use
    to the garbage collector, so that both pools together could exceed the settings.
    """

    def close_on_return(connection: object, record: ConnectionPoolEntry) -> None:
        record.invalidate()

    old = engine.sync_engine.pool
    await engine.dispose(close=False)
    event.listen(old, "checkin", close_on_return)
    await greenlet_spawn(old.dispose)
