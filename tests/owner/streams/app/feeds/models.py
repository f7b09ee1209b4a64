"""The table of messages."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigInt


class Message(Base):
    """A message to everybody."""

    __tablename__ = "messages"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    text: Mapped[str] = mapped_column(String(200))
