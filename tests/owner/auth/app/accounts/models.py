"""The tables of accounts."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.kit.db import Base, BigInt, Timestamps


class Account(Base):
    """Somebody whom the identity provider knows."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    subject: Mapped[str] = mapped_column(String(100), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    is_editor: Mapped[bool] = mapped_column(default=False)


class Article(Timestamps, Base):
    """A text by an account."""

    __tablename__ = "articles"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    author_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)

    author: Mapped[Account] = relationship(lazy="raise")
