"""Operations on items."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import NotFoundError
from app.example.items.models import Item
from app.example.users.service import get_user
from app.kit.db import AsyncReadSession, Base, Page, PageQuery, paginate

# Statements are built once: building one takes longer than the database takes to run it, and
# `session.get` builds one at each call.
ITEM = select(Item).where(Item.id == bindparam("id"))
# The busiest lists and bulk inserts use the table, not the model: they need neither entities to
# change nor generated ids.
TABLE = Base.metadata.tables["items"]
ITEMS = select(TABLE)
ITEMS_OF_USER = select(TABLE).where(TABLE.c.user_id == bindparam("user_id"))
INSERT_ITEMS = insert(TABLE)


async def create_item(session: AsyncSession, **values: Any) -> Item:
    """Add an item; `values` are the columns."""
    item = Item(**values)
    session.add(item)
    await session.flush()
    return item


async def create_items(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> int:
    """Add many items, all or none, and return their number."""
    if rows:
        await session.execute(INSERT_ITEMS, rows)
    return len(rows)


async def get_item(session: AsyncReadSession, item_id: int) -> Item:
    """One item.

    Raises:
        NotFoundError: There is none with this id.
    """
    item = await session.scalar(ITEM, {"id": item_id})
    if item is None:
        raise NotFoundError("item", item_id)
    return item


async def list_items(session: AsyncReadSession, page: PageQuery) -> Page[dict[str, Any]]:
    """One page of all items."""
    return await paginate(session, ITEMS, page)


async def list_items_of_user(
    session: AsyncReadSession, user_id: int, page: PageQuery
) -> Page[dict[str, Any]]:
    """One page of the items of a user.

    Raises:
        NotFoundError: There is no such user.
    """
    found = await paginate(session, ITEMS_OF_USER, page, {"user_id": user_id})
    if not found.items:
        await get_user(session, user_id)
    return found


async def update_item(session: AsyncSession, item_id: int, **changes: Any) -> Item:
    """Change columns of an item.

    Raises:
        NotFoundError: There is none with this id.
    """
    item = await _lock_item(session, item_id)
    for name, value in changes.items():
        setattr(item, name, value)
    await session.flush()
    return item


async def delete_item(session: AsyncSession, item_id: int) -> None:
    """Delete an item.

    Raises:
        NotFoundError: There is none with this id.
    """
    await session.delete(await _lock_item(session, item_id))
    await session.flush()


async def _lock_item(session: AsyncSession, item_id: int) -> Item:
    # Concurrent changes and deletions wait for the lock, and then see the result.
    item = await session.get(Item, item_id, with_for_update=True)
    if item is None:
        raise NotFoundError("item", item_id)
    return item
