"""The table of notes."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigInt


class Note(Base):
    """Something to remember."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    text: Mapped[str] = mapped_column(String(500))
