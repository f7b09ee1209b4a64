"""Upgrades the schema to the newest revision: `python -m app.db.migrate`.

Safe when several processes start at once: one migrates, the others wait and find nothing to do.
"""

import asyncio
import logging
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from app.db.engine import create_engine, schema_lock
from app.db.errors import kind_of
from app.db.kinds import Kind
from app.settings import Settings, SettingsError, get_settings

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def alembic_config() -> Config:
    """Alembic's configuration: the table [tool.alembic] of pyproject.toml."""
    return Config(toml_file=PYPROJECT)


async def upgrade(settings: Settings, revision: str = "head") -> None:
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
    match kind_of(error):
        case Kind.DISCONNECTED:
            return "The database cannot be reached. Is it running, and is DATABASE_URL right?"
        case Kind.UNAVAILABLE:
            return "The database refuses us. Are we allowed to use it, and is DATABASE_URL right?"
        case Kind.SATURATED:
            return "The database is busy: no connection or lock to be had. Try again later."
        case _:
            return None


def main() -> None:
    """Upgrade to head, or say in one sentence what prevents it."""
    try:
        asyncio.run(upgrade(get_settings()))
    except Exception as error:
        if (sentence := explain(error)) is None:
            raise
        sys.exit(sentence)
    print("The schema is up to date.", file=sys.stderr)


if __name__ == "__main__":
    # Lines about each revision, and about what is waited for, go to stderr.
    logging.basicConfig(format="%(message)s")
    logging.getLogger("app").setLevel(logging.INFO)
    main()
