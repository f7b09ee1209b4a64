"""Operations on favorites."""

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.example.favorites.models import favorites
from app.example.items.models import Item
from app.example.items.service import get_item
from app.example.users.service import get_user
from app.kit.db import AsyncReadSession, ErrorKind, Page, PageQuery, classify, paginate

FAVORITES_OF_USER = (
    select(Item)
    .join(favorites, favorites.c.item_id == Item.id)
    .where(favorites.c.user_id == bindparam("user_id"))
)


async def add_favorite(session: AsyncSession, user_id: int, item_id: int) -> None:
    """Add an item to a user's favorites; idempotent.

    Raises:
        NotFoundError: There is no such user or item.
    """
    try:
        # A savepoint, because the failure is expected, and earlier changes of the transaction must
        # persist.
        async with session.begin_nested():
            await session.execute(insert(favorites).values(user_id=user_id, item_id=item_id))
    except IntegrityError as error:
        if classify(error) is ErrorKind.FOREIGN_KEY:
            await _check_both_exist(session, user_id, item_id)
        if classify(error) is not ErrorKind.UNIQUE:
            raise


async def remove_favorite(session: AsyncSession, user_id: int, item_id: int) -> None:
    """Remove an item from a user's favorites; idempotent.

    Raises:
        NotFoundError: There is no such user or item.
    """
    await _check_both_exist(session, user_id, item_id)
    await session.execute(
        delete(favorites).where(favorites.c.user_id == user_id, favorites.c.item_id == item_id)
    )


async def list_favorites(session: AsyncReadSession, user_id: int, page: PageQuery) -> Page[Item]:
    """One page of the items that a user likes.

    Raises:
        NotFoundError: There is no such user.
    """
    # By the favorite's item_id, not the equal id of the item, by which a database may read all rows
    # before the page.
    key = favorites.c.item_id
    found = await paginate(session, FAVORITES_OF_USER, page, {"user_id": user_id}, key=key)
    if not found.items:
        await get_user(session, user_id)
    return found


async def _check_both_exist(session: AsyncReadSession, user_id: int, item_id: int) -> None:
    await get_user(session, user_id)
    await get_item(session, item_id)
