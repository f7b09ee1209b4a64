"""Checks of the settings and creation of the schema at start-up."""

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
    """Check that engines can be created with these settings.

    Raises:
        SettingsError: A setting is invalid for this database.
    """
    roles: tuple[Role, ...] = ("probe",)
    if schema.builds_at_start(settings):
        roles += ("migrate",)
    for role in roles:
        create_engine(settings, role).sync_engine.dispose()


async def prepare_schema(settings: KitSettings, metadata: MetaData) -> None:
    """Build the schema, if the settings say so; wait while the database is unavailable.

    Raises:
        Exception: The schema cannot be built, because a migration is broken, for example.
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
