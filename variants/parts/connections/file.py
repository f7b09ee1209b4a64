"""The database of the application."""

from app.kit.db.database import Database
from app.kit.settings import KitSettings

__all__ = ["Database", "log_connections"]


def log_connections(settings: KitSettings) -> None:
    """A file has no limit of connections to compare with."""
