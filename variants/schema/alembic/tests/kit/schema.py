"""The schema of the kit's application, without the tables of the owner and their migrations."""

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.kit.db import Base
from app.kit.db.engine import create_engine
from app.kit.db.idempotency import IdempotencyRecord
from app.kit.migrations.upgrade import alembic_config
from app.kit.settings import KitSettings
from tests.kit.probe import ProbeBase


async def build(settings: KitSettings) -> None:
    """Create the tables, and mark them as up to date."""
    engine = create_engine(settings, "migrate")
    async with engine.begin() as connection:
        await connection.run_sync(_build)
    await engine.dispose()


def _build(connection: Connection) -> None:
    Base.metadata.create_all(connection, [Base.metadata.tables[IdempotencyRecord.__tablename__]])
    ProbeBase.metadata.create_all(connection)
    revisions = ScriptDirectory.from_config(alembic_config())
    MigrationContext.configure(connection).stamp(revisions, "head")
