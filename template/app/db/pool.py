"""The engines of a process, and how they share the connections that it may have."""

from typing import Any, Literal

from sqlalchemy.pool import NullPool

from app.settings import Settings

# write: requests and jobs that change something; read: those that do not; migrate: changes of the
# schema; probe: readiness checks, which must not queue behind requests.
Role = Literal["write", "read", "migrate", "probe"]


def pool_options(settings: Settings, role: Role) -> dict[str, Any]:
    """Arguments of `create_async_engine`. The reading and the writing engine share what the
    settings allow to the process; each gets at least one connection."""
    if role in ("migrate", "probe"):
        return {"poolclass": NullPool}
    share = {"write": 0, "read": 1}[role]
    return {
        "pool_size": max(1, (settings.database_pool_size + share) // 2),
        "max_overflow": (settings.database_max_overflow + share) // 2,
        "pool_timeout": settings.database_pool_timeout,
        "pool_recycle": settings.database_pool_recycle,
        "pool_pre_ping": settings.database_pool_pre_ping,
    }
