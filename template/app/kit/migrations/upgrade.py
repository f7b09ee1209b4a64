"""Upgrades the schema to the newest revision: `python -m app migrate`.

Safe when several processes start at once: one migrates, the others wait and find nothing to do.
"""

import asyncio
import logging
import re
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from app.kit.db.engine import create_engine, schema_lock
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify, exception_chain
from app.kit.settings import KitSettings, SettingsError

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"

State = Literal["ok", "behind", "ahead"]

logger = logging.getLogger(__name__)


def alembic_config() -> Config:
    """Alembic's configuration: the table [tool.alembic] of pyproject.toml."""
    return Config(toml_file=PYPROJECT)


@cache
def revisions() -> ScriptDirectory:
    """The revisions in `migrations/versions`, read once."""
    return ScriptDirectory.from_config(alembic_config())


@cache
def _known() -> frozenset[str]:
    return frozenset(revision.revision for revision in revisions().walk_revisions())


def state_at(current: set[str]) -> State:
    """How a database at these revisions compares with those that this code knows."""
    if current - _known():
        return "ahead"
    return "ok" if current == set(revisions().get_heads()) else "behind"


async def upgrade(settings: KitSettings, revision: str = "head") -> None:
    """Upgrade the schema to a revision. A database that is ahead of this code stays as it is.

    Raises:
        CommandError: There are two newest revisions, or the revision does not exist.
    """

    def run(connection: Connection) -> None:
        current = set(MigrationContext.configure(connection).get_current_heads())
        connection.rollback()
        if state_at(current) == "ahead":
            found = ", ".join(sorted(current))
            logger.warning("revision %s belongs to a newer version: nothing to upgrade", found)
            return
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    if len(heads := revisions().get_heads()) > 1 and revision == "head":
        raise CommandError(
            f"There are {len(heads)} newest revisions, {' and '.join(sorted(heads))}. "
            'Join them: alembic merge heads -m "Merge"'
        )
    engine = create_engine(settings, "migrate")
    try:
        async with schema_lock(engine) as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


def explain(error: Exception) -> str | None:
    """What to do about an error, if it is one of set-up and not of a migration."""
    if isinstance(error, SettingsError | CommandError):
        return str(error)
    *_, cause = exception_chain(error)
    if getattr(cause, "sqlstate", None) == "42501":
        return f"The database refuses it: {cause}. Migrate as a user who may change the schema."
    if unknown := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
        return f"DATABASE_URL: the driver does not know the parameter {unknown[1]}."
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
