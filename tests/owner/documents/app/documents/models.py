"""The tables of folders and documents."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import JSON, ForeignKey, Index, Interval, String, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.db import Base, BigInt, Timestamps, UTCDateTime


class Status(Enum):
    """How far a document is."""

    DRAFT = "draft"
    IN_REVIEW = "in review"
    PUBLISHED = "published"


class Folder(Base):
    """What documents and other folders lie in."""

    __tablename__ = "folders"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"), index=True)
    changed_at: Mapped[datetime] = mapped_column(
        UTCDateTime, server_default=func.current_timestamp(), onupdate=func.current_timestamp()
    )

    parent: Mapped[Folder | None] = relationship(
        back_populates="children", remote_side=[id], lazy="raise"
    )
    children: Mapped[list[Folder]] = relationship(
        back_populates="parent", order_by="Folder.name", lazy="raise"
    )


class Document(Timestamps, Base):
    """A text with facts about it."""

    __tablename__ = "documents"
    __table_args__ = (Index(None, "created_at", "id"), Index(None, "status", "created_at", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, insert_default=uuid4)
    title: Mapped[str] = mapped_column(String(100))
    status: Mapped[Status] = mapped_column(insert_default=Status.DRAFT)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, insert_default=dict)
    published_on: Mapped[date | None]
    reading_time: Mapped[timedelta | None] = mapped_column(Interval)
    folder_id: Mapped[int | None] = mapped_column(ForeignKey("folders.id"), index=True)
