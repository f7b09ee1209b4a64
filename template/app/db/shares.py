"""How the engines of a process share the connections that it may have."""

from typing import Any

from sqlalchemy.pool import NullPool

from app.db.pool import Role
from app.settings import Settings


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
