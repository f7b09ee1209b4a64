"""What happens to the schema when the service starts."""

import asyncio
import logging

from app.db import schema
from app.db.engine import create_engine
from app.db.errors import kind_of
from app.db.pool import Role
from app.db.waiting import Waiting
from app.settings import Settings

logger = logging.getLogger(__name__)


def check_settings(settings: Settings) -> None:
    """Look whether the database can be used, and the schema built if that is done at start-up.

    Raises:
        SettingsError: With these settings it never can.
    """
    roles: tuple[Role, ...] = ("probe",)
    if schema.builds_at_start(settings):
        roles += ("migrate",)
    for role in roles:
        create_engine(settings, role).sync_engine.dispose()


async def prepare_schema(settings: Settings) -> None:
    """Build the schema, if that is the service's business; while the database is away, wait for it.

    Raises:
        Exception: The schema cannot be built: a migration is broken.
    """
    waiting = Waiting("the database, to build the schema")
    while schema.builds_at_start(settings):
        try:
            return await schema.build(settings)
        except Exception as error:
            if kind_of(error) is None:
                logger.exception("the schema cannot be built")
                raise
            waiting.tell()
        await asyncio.sleep(1)
