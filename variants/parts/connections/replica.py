"""The database of the application, and how many connections to it may be open."""

import logging

from app.kit.db.pool import Role, pool_size
from app.kit.replicas.database import ReplicatedDatabase as Database
from app.kit.settings import KitSettings

__all__ = ["Database", "log_connections"]

# The connections of a process to the primary.
ROLES: tuple[Role, ...] = ("write", "read", "probe", "probe")

logger = logging.getLogger(__name__)


def log_connections(settings: KitSettings) -> None:
    """Log how many connections to the database all processes together may open."""
    # Compare it with the server's limit: docs/connections.md.
    each = sum(sum(pool_size(settings, role)) for role in ROLES)
    logger.info(
        "up to %d connections to the database: INSTANCES=%d * WORKERS=%d * %d",
        settings.instances * settings.workers * each,
        settings.instances,
        settings.workers,
        each,
    )
