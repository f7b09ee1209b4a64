"""What can be done with tags."""

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import ForbiddenError, NotFoundError
from app.tags.models import Tag


async def create_tag(session: AsyncSession, name: str, locked: bool) -> Tag:
    """Add a tag."""
    tag = Tag(name=name, locked=locked)
    session.add(tag)
    await session.flush()
    return tag


async def ensure_tag(session: AsyncSession, name: str) -> Tag:
    """The tag with this name, which is added if there is none, also while others add it."""
    tag = Tag(name=name)
    try:
        async with session.begin_nested():
            session.add(tag)
    except IntegrityError:
        tag = (await session.scalars(select(Tag).where(Tag.name == name))).one()
    return tag


async def add_if_new(session: AsyncSession, names: Sequence[str]) -> int:
    """Add tags, and stop at a duplicate. Return how many were added.

    Without a savepoint, a caught error fails the transaction all the same.
    """
    added = 0
    try:
        for name in names:
            await session.execute(insert(Tag).values(name=name, locked=False))
            added += 1
    except IntegrityError:
        pass
    return added


async def delete_tag(session: AsyncSession, tag_id: int) -> None:
    """Delete a tag.

    Raises:
        NotFoundError: There is none with this id.
        ForbiddenError: It is locked.
    """
    tag = await session.get(Tag, tag_id)
    if tag is None:
        raise NotFoundError("tag", tag_id)
    if tag.locked:
        raise ForbiddenError(f"The tag {tag.name} is locked.")
    await session.delete(tag)
