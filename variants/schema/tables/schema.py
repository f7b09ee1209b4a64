"""The schema: tables are created where they are missing, and never altered.

A column that is added to a model later is missing in a table that exists: code that reads or
writes the table fails until the column is added by hand. Tables that change need migrations.
"""

from typing import Literal

from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateSchema

from app.kit.db.base import Base
from app.kit.db.engine import create_engine, schema_lock
from app.kit.settings import KitSettings

State = Literal["ok", "behind", "ahead"]


def builds_at_start(settings: KitSettings) -> bool:
    """Whether the service builds the schema when it starts."""
    return True


async def build(settings: KitSettings, metadata: MetaData) -> None:
    """Create the tables that are missing; safe in several processes at once."""

    def create(connection: Connection) -> None:
        for name in {table.schema for table in metadata.tables.values() if table.schema}:
            connection.execute(CreateSchema(name, if_not_exists=True))
        metadata.create_all(connection)

    engine = create_engine(settings, "migrate")
    try:
        async with schema_lock(engine) as connection:
            await connection.run_sync(create)
            await connection.commit()
    finally:
        await engine.dispose()


async def state(connection: AsyncConnection) -> State:
    """`ok` if all tables exist, otherwise `behind`."""

    def exist(connection: Connection) -> bool:
        inspector = inspect(connection)
        tables = Base.metadata.tables.values()
        names = {
            schema: set(inspector.get_table_names(schema)) for schema in {t.schema for t in tables}
        }
        return all(table.name in names[table.schema] for table in tables)

    return "ok" if await connection.run_sync(exist) else "behind"
