"""The schema: it is current when the migrations of this version of the code have run."""

from functools import cache

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db.migrate import alembic_config, upgrade
from app.settings import Settings


def builds_at_start(settings: Settings) -> bool:
    """Whether the service builds the schema when it starts."""
    return settings.migrates_at_start


async def build(settings: Settings) -> None:
    """Upgrade to the newest revision; safe in several processes at once."""
    await upgrade(settings)


async def is_current(connection: AsyncConnection) -> bool:
    """Whether the database is at the newest revision that this code knows."""

    def revisions(connection: Connection) -> set[str]:
        return set(MigrationContext.configure(connection).get_current_heads())

    return await connection.run_sync(revisions) == newest_revisions()


@cache
def newest_revisions() -> set[str]:
    """The heads of `migrations/versions`, read once."""
    return set(ScriptDirectory.from_config(alembic_config()).get_heads())
