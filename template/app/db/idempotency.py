"""Answers kept for clients that repeat a request whose outcome they never learned."""

import asyncio
import logging
from datetime import datetime, timedelta

from sqlalchemy import SmallInteger, String, delete
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Blob, UTCDateTime, utc_now
from app.db.database import Database
from app.db.errors import kind_of

KEEP_FOR = timedelta(hours=24)

logger = logging.getLogger(__name__)


class StoredAnswer(Base):
    """The first answer to a request with an `Idempotency-Key`, written in its transaction."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """What was asked: a SHA-256 of method, path and body."""
    status: Mapped[int] = mapped_column(SmallInteger)
    location: Mapped[str | None] = mapped_column(String(2000))
    media_type: Mapped[str | None] = mapped_column(String(255))
    # None: empty, which is the same to Oracle.
    body: Mapped[bytes | None] = mapped_column(Blob)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now, index=True)

    @property
    def expired(self) -> bool:
        """Whether the time for which answers are kept is over."""
        return self.created_at < utc_now() - KEEP_FOR


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
