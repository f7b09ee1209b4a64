"""Upgrades the schema to the newest revision: `python -m app migrate`.

Safe when several processes start at once: one migrates, the others wait and find nothing to do.
"""

import asyncio
import logging
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from app.kit.db.engine import create_engine, schema_lock
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.settings import KitSettings, SettingsError

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def alembic_config() -> Config:
    """Alembic's configuration: the table [tool.alembic] of pyproject.toml."""
    return Config(toml_file=PYPROJECT)


async def upgrade(settings: KitSettings, revision: str = "head") -> None:
    """Upgrade the schema to a revision."""

    def run(connection: Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_engine(settings, "migrate")
    try:
        async with schema_lock(engine), engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


def explain(error: Exception) -> str | None:
    """What to do about an error, if it is one of set-up and not of a migration."""
    if isinstance(error, SettingsError):
        return str(error)
    match classify(error):
        case ErrorKind.DISCONNECTED:
            return "The database cannot be reached. Is it running, and is DATABASE_URL right?"
        case ErrorKind.UNAVAILABLE:
            return "The database refuses us. Are we allowed to use it, and is DATABASE_URL right?"
        case ErrorKind.RESOURCE_EXHAUSTED:
            return "The database is busy: no connection or lock to be had. Try again later."
        case _:
            return None


def main(settings: KitSettings) -> None:
    """Upgrade to head, or end the process with one sentence that says what prevents it."""
    # Lines about each revision, and about what is waited for, go to stderr.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("app").setLevel(logging.INFO)
    try:
        asyncio.run(upgrade(settings))
    except Exception as error:
        if (sentence := explain(error)) is None:
            raise
        sys.exit(sentence)
    print("The schema is up to date.", file=sys.stderr)
