"""The routes of tags."""

from fastapi import HTTPException
from sqlalchemy import func, select

from app.kit.web import Id, ReadSession, Router, WriteSession
from app.tags import service
from app.tags.models import Tag
from app.tags.schemas import TagCreate, TagNames, TagRead

MOST = 100

router = Router(prefix="/tags", tags=["tags"])


@router.post("", status_code=201, response_model=TagRead)
async def create_tag(data: TagCreate, session: WriteSession) -> Tag:
    """Create a tag."""
    count = await session.scalar(select(func.count()).select_from(Tag)) or 0
    if count >= MOST:
        raise HTTPException(409, {"detail": "There are too many tags.", "most": MOST})
    return await service.create_tag(session, data.name, data.locked)


@router.put("", response_model=list[TagRead])
async def ensure_tags(data: TagNames, session: WriteSession) -> list[Tag]:
    """Have tags with these names, whether they exist or not."""
    return [await service.ensure_tag(session, name) for name in data.names]


@router.post("/new")
async def add_tags(data: TagNames, session: WriteSession) -> dict[str, int]:
    """Add tags until one exists."""
    return {"added": await service.add_if_new(session, data.names)}


@router.get("/{tag_id}", response_model=TagRead)
async def get_tag(tag_id: Id, session: ReadSession) -> Tag:
    """Get a tag; a missing one is 410 if it was deleted, as far as anybody can know."""
    tag = await session.get(Tag, tag_id)
    if tag is None:
        raise HTTPException(410, headers={"Cache-Control": "max-age=60"})
    return tag


@router.delete("/{tag_id}", status_code=204)
async def delete_tag(tag_id: Id, session: WriteSession) -> None:
    """Delete a tag."""
    await service.delete_tag(session, tag_id)
