"""Deletion of expired rows."""

from datetime import timedelta

from sqlalchemy import delete

from app.kit.db.base import utc_now
from app.kit.db.database import Database
from app.kit.db.idempotency import RETENTION, IdempotencyRecord
from app.kit.jobs import PeriodicJob


async def delete_expired_records(database: Database) -> None:
    """Delete idempotency records past their retention."""
    async with database.write() as session:
        await session.execute(
            delete(IdempotencyRecord).where(IdempotencyRecord.created_at < utc_now() - RETENTION)
        )


DELETE_EXPIRED_RECORDS = PeriodicJob(delete_expired_records, timedelta(hours=1))
