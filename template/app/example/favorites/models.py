"""The table between users and the items they like."""

from sqlalchemy import Column, ForeignKey, Table

from app.kit.db import Base

favorites = Table(
    "favorites",
    Base.metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    # The index of the primary key starts with user_id; deleting an item needs one on item_id.
    Column("item_id", ForeignKey("items.id", ondelete="CASCADE"), primary_key=True, index=True),
)
