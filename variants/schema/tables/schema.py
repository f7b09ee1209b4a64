"""The schema: tables are created where they are missing, and never altered."""

from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

import app.models  # noqa: F401  (fills the metadata)
from app.db.base import Base
from app.db.engine import create_engine, schema_lock
from app.settings import Settings


def builds_at_start(settings: Settings) -> bool:
    """Whether the service builds the schema when it starts."""
    return True


async def build(settings: Settings) -> None:
    """Create the tables that are missing; safe in several processes at once."""
    engine = create_engine(settings, "migrate")
    try:
        async with schema_lock(engine), engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    finally:
        await engine.dispose()


async def is_current(connection: AsyncConnection) -> bool:
    """Whether all tables exist."""

    def missing(connection: Connection) -> set[str]:
        return set(Base.metadata.tables) - set(inspect(connection).get_table_names())

    return not await connection.run_sync(missing)
