"""The routes of favorites."""

from typing import Annotated

from fastapi import Query

from app.example.favorites import service
from app.example.items.models import Item
from app.example.items.schemas import ItemRead
from app.kit.db import Page, PageQuery
from app.kit.web import Id, ReadSession, Router, WriteSession

router = Router(prefix="/users/{user_id}/favorites", tags=["favorites"])


@router.put("/{item_id}", status_code=204)
async def add_favorite(user_id: Id, item_id: Id, session: WriteSession) -> None:
    """Add a favorite."""
    await service.add_favorite(session, user_id, item_id)


@router.delete("/{item_id}", status_code=204)
async def remove_favorite(user_id: Id, item_id: Id, session: WriteSession) -> None:
    """Remove a favorite."""
    await service.remove_favorite(session, user_id, item_id)


@router.get("", response_model=Page[ItemRead])
async def list_favorites(
    user_id: Id, session: ReadSession, page: Annotated[PageQuery, Query()]
) -> Page[Item]:
    """List the items that a user likes."""
    return await service.list_favorites(session, user_id, page)
