"""The schema of the kit's application."""

from app.kit.db import Base, schema
from app.kit.settings import KitSettings
from tests.kit import probe


async def build(settings: KitSettings) -> None:
    """Create the tables. The owner's are among them, because readiness asks for all of `Base`."""
    await schema.build(settings, Base.metadata)
    await probe.create_table(settings)
