"""Runs operators' scripts: `python -m app.<feature>.<command>`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from app.kit.db.database import Database
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.settings import KitSettings, SettingsError


def run(settings_class: type[KitSettings], work: Callable[[Database], Awaitable[None]]) -> None:
    """Run `work` on the database of the settings. Exit with a one-line message if the settings are
    invalid or the database cannot be used."""
    try:
        asyncio.run(run_with(settings_class.load(), work))
    except SettingsError as error:
        sys.exit(str(error))
    except Exception as error:
        match classify(error):
            case None:
                raise
            case ErrorKind.SCHEMA:
                sys.exit("A table or column is missing; README.md says how to create the schema.")
            case kind:
                reason = kind.name.lower().replace("_", " ")
                sys.exit(f"The database is {reason}. Is it running, and is DATABASE_URL right?")


async def run_with(settings: KitSettings, work: Callable[[Database], Awaitable[None]]) -> None:
    """Run `work` on the database of the settings, then close the connections."""
    database = Database(settings)
    try:
        await work(database)
    finally:
        await database.close()
