"""The routes of attachments."""

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote

from fastapi import HTTPException, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import undefer

from app.attachments.models import Attachment
from app.errors import NotFoundError
from app.kit.web import Id, ReadSession, Router, WriteSession

MAX_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024

router = Router(prefix="/attachments", tags=["attachments"])


class AttachmentRead(BaseModel):
    """An attachment without its content."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    name: str
    media_type: str
    size: int
    created_at: datetime


@router.post("", status_code=201, response_model=AttachmentRead)
async def create_attachment(file: UploadFile, session: WriteSession) -> Attachment:
    """Store a file."""
    content = await file.read()
    if len(content) > MAX_BYTES:
        raise HTTPException(413, f"A file may have {MAX_BYTES} bytes.")
    attachment = Attachment(
        name=file.filename or "file",
        media_type=file.content_type or "application/octet-stream",
        size=len(content),
        content=content,
    )
    session.add(attachment)
    await session.flush()
    return attachment


@router.get("/{attachment_id}", response_model=AttachmentRead)
async def get_attachment(attachment_id: Id, session: ReadSession) -> Attachment:
    """Get what is known about a file."""
    attachment = await session.get(Attachment, attachment_id)
    if attachment is None:
        raise NotFoundError("attachment", attachment_id)
    return attachment


@router.get("/{attachment_id}/content", response_class=StreamingResponse)
async def get_content(attachment_id: Id, session: ReadSession) -> StreamingResponse:
    """Download a file."""
    options = [undefer(Attachment.content)]
    attachment = await session.get(Attachment, attachment_id, options=options)
    if attachment is None:
        raise NotFoundError("attachment", attachment_id)
    headers = {
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(attachment.name, safe='')}",
        "Content-Length": str(attachment.size),
    }
    return StreamingResponse(
        chunks(attachment.content), headers=headers, media_type=attachment.media_type
    )


def chunks(content: bytes) -> Iterator[bytes]:
    """The content in pieces."""
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
