"""The table of attachments."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigInt, Blob, Timestamps


class Attachment(Timestamps, Base):
    """A file."""

    __tablename__ = "attachments"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInt)
    content: Mapped[bytes] = mapped_column(Blob, deferred=True, deferred_raiseload=True)
