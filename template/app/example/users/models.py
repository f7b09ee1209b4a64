"""The table of users."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.db import NEVER_REUSE_IDS, Base, BigInt, Money, UTCDateTime, utc_now

if TYPE_CHECKING:
    from app.example.items.models import Item


class User(Base):
    """A person with a balance, which only transfers change."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("balance >= 0", "balance_not_negative"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    username: Mapped[str] = mapped_column(String(50), unique=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    balance: Mapped[Decimal] = mapped_column(Money(14), insert_default=Decimal("0.00"))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now)

    # `raise`: long lists are loaded only explicitly.
    items: Mapped[list[Item]] = relationship(
        back_populates="user", lazy="raise", passive_deletes=True
    )
    favorites: Mapped[list[Item]] = relationship(
        secondary="favorites", lazy="raise", passive_deletes=True
    )
