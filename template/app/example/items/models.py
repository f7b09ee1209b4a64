"""The table of items."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.db import NEVER_REUSE_IDS, Base, BigInt, Money, UTCDateTime, utc_now

if TYPE_CHECKING:
    from app.example.users.models import User


class Item(Base):
    """Something with a price, which may belong to a user."""

    __tablename__ = "items"
    __table_args__ = (
        CheckConstraint("price >= 0", "price_not_negative"),
        # For pages of a user's items. With an index on user_id alone, a database may sort all of
        # them for each page, or scan the items of other users.
        Index(None, "user_id", "id"),
        NEVER_REUSE_IDS,
    )

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), index=True)
    description: Mapped[str | None] = mapped_column(Text)
    price: Mapped[Decimal] = mapped_column(Money(12))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))

    user: Mapped[User | None] = relationship(back_populates="items", lazy="raise")
