"""Answers kept for clients that repeat a request whose outcome they never learned."""

from datetime import datetime, timedelta

from sqlalchemy import SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db.base import Base, Blob, UTCDateTime, utc_now

RETENTION = timedelta(hours=24)


class IdempotencyRecord(Base):
    """The first answer to a request with an `Idempotency-Key`, written in its transaction."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """What was asked: a SHA-256 of method, path and body."""
    status: Mapped[int] = mapped_column(SmallInteger)
    location: Mapped[str | None] = mapped_column(String(2000))
    media_type: Mapped[str | None] = mapped_column(String(255))
    # None: empty, which to some databases is the same.
    body: Mapped[bytes | None] = mapped_column(Blob)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now, index=True)

    @property
    def expired(self) -> bool:
        """Whether the time for which answers are kept is over."""
        return self.created_at < utc_now() - RETENTION
