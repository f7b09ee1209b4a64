"""The schema: tables are created where they are missing, and never altered."""

from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kit.db.base import Base
from app.kit.db.engine import create_engine, schema_lock
from app.kit.settings import KitSettings


def builds_at_start(settings: KitSettings) -> bool:
    """Whether the service builds the schema when it starts."""
    return True


async def build(settings: KitSettings, metadata: MetaData) -> None:
    """Create the tables that are missing; safe in several processes at once."""
    engine = create_engine(settings, "migrate")
    try:
        async with schema_lock(engine), engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
    finally:
        await engine.dispose()


async def is_current(connection: AsyncConnection) -> bool:
    """Whether all tables exist."""

    def missing(connection: Connection) -> set[str]:
        return set(Base.metadata.tables) - set(inspect(connection).get_table_names())

    return not await connection.run_sync(missing)
