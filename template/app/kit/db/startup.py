"""What happens to the schema when the service starts."""

import asyncio
import logging

from sqlalchemy import MetaData

from app.kit.db import schema
from app.kit.db.engine import create_engine
from app.kit.db.errors import classify
from app.kit.db.pool import Role
from app.kit.db.wait_log import WaitLog
from app.kit.settings import KitSettings

logger = logging.getLogger(__name__)


def check_settings(settings: KitSettings) -> None:
    """Look whether the database can be used, and the schema built if that is done at start-up.

    Raises:
        SettingsError: With these settings it never can.
    """
    roles: tuple[Role, ...] = ("probe",)
    if schema.builds_at_start(settings):
        roles += ("migrate",)
    for role in roles:
        create_engine(settings, role).sync_engine.dispose()


async def prepare_schema(settings: KitSettings, metadata: MetaData) -> None:
    """Build the schema, if that is the service's business; while the database is away, wait for it.

    Raises:
        Exception: The schema cannot be built: a migration is broken.
    """
    waiting = WaitLog("the database, to build the schema")
    while schema.builds_at_start(settings):
        try:
            return await schema.build(settings, metadata)
        except Exception as error:
            if classify(error) is None:
                logger.exception("the schema cannot be built")
                raise
            waiting.log_if_due()
        await asyncio.sleep(1)
