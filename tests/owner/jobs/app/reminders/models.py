"""The table of reminders."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigInt, UTCDateTime


class Reminder(Base):
    """What to be reminded of, and when."""

    __tablename__ = "reminders"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    text: Mapped[str] = mapped_column(String(200))
    due: Mapped[datetime] = mapped_column(UTCDateTime, index=True)
