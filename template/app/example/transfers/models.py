"""The table of transfers."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import NEVER_REUSE_IDS, Base, BigInt, Money, UTCDateTime, utc_now


class Transfer(Base):
    """A transfer between two users. It outlives them; a deleted user becomes NULL."""

    __tablename__ = "transfers"
    __table_args__ = (CheckConstraint("amount > 0", "amount_positive"), NEVER_REUSE_IDS)

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    from_user_id: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    to_user_id: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    amount: Mapped[Decimal] = mapped_column(Money(14))
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now)
