"""The table of invoices."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import NEVER_REUSE_IDS, Base, BigInt, Money, UTCDateTime, utc_now


class Invoice(Base):
    """What a customer owes, until when, and whether it is paid."""

    __tablename__ = "invoices"
    __table_args__ = (CheckConstraint("amount > 0", "amount_positive"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    number: Mapped[str] = mapped_column(String(20), unique=True)
    customer: Mapped[str] = mapped_column(String(100), index=True)
    amount: Mapped[Decimal] = mapped_column(Money(12))
    issued_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now)
    due_at: Mapped[datetime] = mapped_column(UTCDateTime)
    paid: Mapped[bool] = mapped_column(insert_default=False)
