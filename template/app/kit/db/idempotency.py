"""Stored responses, for clients that retry a request whose response they did not receive."""

from datetime import datetime, timedelta

from sqlalchemy import SmallInteger, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db.base import Base, Blob, UTCDateTime, utc_now

RETENTION = timedelta(hours=24)


class IdempotencyRecord(Base):
    """The first response to a request with an `Idempotency-Key`, stored in its transaction."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """The request: a SHA-256 of method, path and body."""
    principal: Mapped[str] = mapped_column(String(64))
    """The client: a SHA-256 of the principal, or of the credentials that were sent."""
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[str] = mapped_column(Text)
    """The replayed headers, as a JSON object."""
    # None for an empty body, which Oracle would store as NULL anyway.
    body: Mapped[bytes | None] = mapped_column(Blob)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now, index=True)

    @property
    def expired(self) -> bool:
        """Whether the retention has passed."""
        return self.created_at < utc_now() - RETENTION
