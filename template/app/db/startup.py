"""What happens to the schema when the service starts."""

import asyncio
import logging

from app.db import schema
from app.db.errors import kind_of
from app.settings import Settings

logger = logging.getLogger(__name__)


async def prepare_schema(settings: Settings) -> None:
    """Build the schema, if that is the service's business; while the database is away, wait for it.

    Raises:
        Exception: The schema cannot be built: a migration is broken.
    """
    announced = False
    while schema.builds_at_start(settings):
        try:
            return await schema.build(settings)
        except Exception as error:
            if (kind := kind_of(error)) is None:
                logger.exception("the schema cannot be built")
                raise
            if not announced:
                logger.warning("the schema is not built yet: database %s; trying on", kind.name)
                announced = True
        await asyncio.sleep(1)
