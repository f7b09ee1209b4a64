"""Operations on users."""

from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from app.errors import NotFoundError
from app.example.users.models import User
from app.kit.db import AsyncReadSession, Page, PageQuery, paginate

USER = select(User).where(User.id == bindparam("id"))
USERS = select(User)
USERS_WITH_ITEMS = USERS.options(selectinload(User.items), selectinload(User.favorites))


async def create_user(session: AsyncSession, **values: Any) -> User:
    """Add a user; `values` are the columns."""
    user = User(**values)
    session.add(user)
    await session.flush()
    return user


async def get_user(session: AsyncReadSession, user_id: int) -> User:
    """One user.

    Raises:
        NotFoundError: There is none with this id.
    """
    user = await session.scalar(USER, {"id": user_id})
    if user is None:
        raise NotFoundError("user", user_id)
    return user


async def list_users(session: AsyncReadSession, page: PageQuery) -> Page[User]:
    """One page of all users."""
    return await paginate(session, USERS, page)


async def list_users_with_items(session: AsyncReadSession, page: PageQuery) -> Page[User]:
    """One page of all users, with `items` and `favorites` loaded: three statements, however many
    users there are."""
    return await paginate(session, USERS_WITH_ITEMS, page)


async def update_user(session: AsyncSession, user_id: int, **changes: Any) -> User:
    """Change columns of a user.

    Raises:
        NotFoundError: There is none with this id.
    """
    user = await _lock_user(session, user_id)
    for name, value in changes.items():
        setattr(user, name, value)
    await session.flush()
    return user


async def delete_user(session: AsyncSession, user_id: int) -> None:
    """Delete a user, with its items and favorites by foreign keys; its transfers are kept.

    Raises:
        NotFoundError: There is none with this id.
    """
    await session.delete(await _lock_user(session, user_id))
    await session.flush()


async def _lock_user(session: AsyncSession, user_id: int) -> User:
    # Concurrent changes and deletions wait for the lock, and then see the result.
    user = await session.get(User, user_id, with_for_update=True)
    if user is None:
        raise NotFoundError("user", user_id)
    return user
