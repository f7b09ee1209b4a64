"""Commands for the people who run the service: `python -m scripts.<name>`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import app.models  # noqa: F401  (services of one feature meet models of others)
from app.db.database import Database
from app.db.errors import kind_of
from app.db.kinds import Kind
from app.settings import Settings, SettingsError, get_settings


def run(work: Callable[[Database], Awaitable[None]]) -> None:
    """Run work on the database of the settings, or say in one sentence what prevents it."""
    try:
        asyncio.run(run_with(get_settings(), work))
    except SettingsError as error:
        sys.exit(str(error))
    except Exception as error:
        match kind_of(error):
            case None:
                raise
            case Kind.SCHEMA:
                sys.exit("The database has no tables for this yet; README.md tells how to start.")
            case kind:
                reason = kind.name.lower().replace("_", " ")
                sys.exit(f"The database is {reason}. Is it there, and is DATABASE_URL right?")


async def run_with(settings: Settings, work: Callable[[Database], Awaitable[None]]) -> None:
    """Run work on a database, and close its connections."""
    database = Database(settings)
    try:
        await work(database)
    finally:
        await database.close()
