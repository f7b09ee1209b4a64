"""The table between users and the items they like."""

from sqlalchemy import Column, ForeignKey, Table

from app.kit.db import Base

favorites = Table(
    "favorites",
    Base.metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # The primary key is an index on user_id first; deleting an item looks from the other side.
    Column("item_id", ForeignKey("items.id", ondelete="CASCADE"), primary_key=True, index=True),
)
