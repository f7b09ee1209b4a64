"""What can be done with favorites."""

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
    """Have a user like an item; once more changes nothing.

    Raises:
        NotFoundError: There is no such user or item.
    """
    try:
        # A savepoint: a failed statement ends the transaction on most databases, but the failure is
        # expected here, and what the transaction did before must stay.
        async with session.begin_nested():
            await session.execute(insert(favorites).values(user_id=user_id, item_id=item_id))
    except IntegrityError as error:
        if classify(error) is ErrorKind.FOREIGN_KEY:
            await _check_both_exist(session, user_id, item_id)
        if classify(error) is not ErrorKind.UNIQUE:
            raise


async def remove_favorite(session: AsyncSession, user_id: int, item_id: int) -> None:
    """Have a user no longer like an item; once more changes nothing.

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
    # By the favorite's item_id, not the item's id, which is the same: from that, a database may not
    # see where in the user's favorites to begin, and read all before the page.
    key = favorites.c.item_id
    found = await paginate(session, FAVORITES_OF_USER, page, {"user_id": user_id}, key=key)
    if not found.items:
        await get_user(session, user_id)
    return found


async def _check_both_exist(session: AsyncReadSession, user_id: int, item_id: int) -> None:
    await get_user(session, user_id)
    await get_item(session, item_id)
