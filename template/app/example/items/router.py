"""The routes of items."""

from typing import Annotated, Any

from fastapi import Body, Query, Request, Response

from app.example.items import service
from app.example.items.models import Item
from app.example.items.schemas import ItemCreate, ItemRead, ItemsCreated, ItemUpdate
from app.kit.db import Page, PageQuery
from app.kit.web import CREATED, Id, ReadSession, Router, WriteSession, set_location

# The busiest routes first, because they match first.
router = Router(tags=["items"])


@router.get("/items/{item_id}", response_model=ItemRead)
async def get_item(item_id: Id, session: ReadSession) -> Item:
    """Get an item."""
    return await service.get_item(session, item_id)


@router.get("/items", response_model=Page[ItemRead])
async def list_items(
    session: ReadSession, page: Annotated[PageQuery, Query()]
) -> Page[dict[str, Any]]:
    """List items."""
    return await service.list_items(session, page)


@router.post("/items", status_code=201, response_model=ItemRead, responses=CREATED)
async def create_item(
    data: ItemCreate, session: WriteSession, request: Request, response: Response
) -> Item:
    """Create an item."""
    item = await service.create_item(session, **data.model_dump())
    set_location(request, response, "get_item", item_id=item.id)
    return item


@router.post("/items/bulk", status_code=201)
async def create_items(
    data: Annotated[list[ItemCreate], Body(max_length=10_000)], session: WriteSession
) -> ItemsCreated:
    """Create many items, all or none."""
    rows = [item.model_dump() for item in data]
    return ItemsCreated(created=await service.create_items(session, rows))


@router.patch("/items/{item_id}", response_model=ItemRead)
async def update_item(item_id: Id, data: ItemUpdate, session: WriteSession) -> Item:
    """Change an item."""
    return await service.update_item(session, item_id, **data.model_dump(exclude_unset=True))


@router.delete("/items/{item_id}", status_code=204)
async def delete_item(item_id: Id, session: WriteSession) -> None:
    """Delete an item."""
    await service.delete_item(session, item_id)


@router.get("/users/{user_id}/items", response_model=Page[ItemRead])
async def list_items_of_user(
    user_id: Id, session: ReadSession, page: Annotated[PageQuery, Query()]
) -> Page[dict[str, Any]]:
    """List the items of a user."""
    return await service.list_items_of_user(session, user_id, page)
