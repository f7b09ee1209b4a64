"""The optional parts of the kit, as selected by the template's questions."""

from app.kit.parts.commands import COMMANDS
from app.kit.parts.connections import Database, log_connections
from app.kit.parts.observers import install, prepare_workers, tasks

__all__ = ["COMMANDS", "Database", "install", "log_connections", "prepare_workers", "tasks"]
