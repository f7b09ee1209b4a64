"""The routes of users."""

from typing import Annotated

from fastapi import Query, Request, Response

from app.example.users import service
from app.example.users.models import User
from app.example.users.schemas import UserCreate, UserRead, UserUpdate
from app.kit.db import Page, PageQuery
from app.kit.web import CREATED, Id, ReadSession, Router, WriteSession, set_location

router = Router(prefix="/users", tags=["users"])


@router.post("", status_code=201, response_model=UserRead, responses=CREATED)
async def create_user(
    data: UserCreate, session: WriteSession, request: Request, response: Response
) -> User:
    """Create a user."""
    user = await service.create_user(session, **data.model_dump())
    set_location(request, response, "get_user", user_id=user.id)
    return user


@router.get("", response_model=Page[UserRead])
async def list_users(session: ReadSession, page: Annotated[PageQuery, Query()]) -> Page[User]:
    """List users."""
    return await service.list_users(session, page)


@router.get("/{user_id}", response_model=UserRead)
async def get_user(user_id: Id, session: ReadSession) -> User:
    """Get a user."""
    return await service.get_user(session, user_id)


@router.patch("/{user_id}", response_model=UserRead)
async def update_user(user_id: Id, data: UserUpdate, session: WriteSession) -> User:
    """Change a user."""
    return await service.update_user(session, user_id, **data.model_dump(exclude_unset=True))


@router.delete("/{user_id}", status_code=204)
async def delete_user(user_id: Id, session: WriteSession) -> None:
    """Delete a user with all items; transfers are kept."""
    await service.delete_user(session, user_id)
