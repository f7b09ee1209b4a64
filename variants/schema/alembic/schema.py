"""The schema: it is current when the migrations of this version of the code have run."""

from sqlalchemy import MetaData, String, column, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kit import answers
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.migrations.upgrade import State, state_at, upgrade
from app.kit.settings import KitSettings

# Alembic's own table. It is asked directly because Alembic would log each look at it.
REVISIONS = select(column("version_num", String)).select_from(table("alembic_version"))


def builds_at_start(settings: KitSettings) -> bool:
    """Whether the service builds the schema when it starts."""
    default = answers.MIGRATES_IN_DEV and settings.environment == "dev"
    chosen = settings.database_migrate_at_start
    return default if chosen is None else chosen


async def build(settings: KitSettings, metadata: MetaData) -> None:
    """Upgrade to the newest revision; safe in several processes at once."""
    await upgrade(settings)


async def state(connection: AsyncConnection) -> State:
    """How the database compares with the revisions that this code knows.

    `behind`: a revision has not run yet. `ahead`: a newer version of the service has migrated, with
    which this one works as long as migrations only expand the schema.
    """
    try:
        revisions = set(await connection.scalars(REVISIONS))
    except DBAPIError as error:
        if classify(error) is ErrorKind.SCHEMA:
            return "behind"  # Not even Alembic's own table is there.
        raise
    return state_at(revisions)
