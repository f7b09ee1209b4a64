"""The table of tags."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigInt


class Tag(Base):
    """A word by which things are found."""

    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    locked: Mapped[bool] = mapped_column(default=False)
