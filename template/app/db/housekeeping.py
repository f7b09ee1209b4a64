"""What the service tidies up in the database while it runs."""

import asyncio
import logging

from sqlalchemy import delete

from app.db.base import utc_now
from app.db.database import Database
from app.db.errors import kind_of
from app.db.idempotency import KEEP_FOR, StoredAnswer

logger = logging.getLogger(__name__)


async def delete_expired_answers(database: Database) -> None:
    """Delete answers past their time, once an hour, until cancelled."""
    while True:
        try:
            async with database.write() as session:
                await session.execute(
                    delete(StoredAnswer).where(StoredAnswer.created_at < utc_now() - KEEP_FOR)
                )
        except Exception as error:
            kind = kind_of(error)
            logger.warning(
                "expired idempotency keys were not deleted: %s", kind, exc_info=kind is None
            )
        await asyncio.sleep(3600)
