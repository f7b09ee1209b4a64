"""The routes of favorites."""

from fastapi import APIRouter

from app.db.pages import Page
from app.favorites import service
from app.items.models import Item
from app.items.schemas import ItemPage
from app.web.fields import Id
from app.web.pages import PageQuery
from app.web.transaction import ReadSession, TransactionalRoute, WriteSession

router = APIRouter(
    prefix="/users/{user_id}/favorites", tags=["favorites"], route_class=TransactionalRoute
)


@router.put("/{item_id}", status_code=204)
async def add_favorite(user_id: Id, item_id: Id, session: WriteSession) -> None:
    """Like an item."""
    await service.add_favorite(session, user_id, item_id)


@router.delete("/{item_id}", status_code=204)
async def remove_favorite(user_id: Id, item_id: Id, session: WriteSession) -> None:
    """Like an item no longer."""
    await service.remove_favorite(session, user_id, item_id)


@router.get("", response_model=ItemPage)
async def list_favorites(user_id: Id, session: ReadSession, page: PageQuery) -> Page[Item]:
    """List the items that a user likes."""
    return await service.list_favorites(session, user_id, page)
