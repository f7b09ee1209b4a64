"""The routes of notes."""

from typing import Annotated

from fastapi import Query

from app.kit.db import Page, PageQuery
from app.kit.web import Id, ReadSession, Router, Text, WriteSession
from app.notes import service
from app.notes.models import Note
from app.notes.schemas import NoteCreate, NoteRead

router = Router(prefix="/notes", tags=["notes"])


@router.post("", status_code=201, response_model=NoteRead)
async def create_note(data: NoteCreate, session: WriteSession) -> Note:
    """Create a note."""
    return await service.create_note(session, data.text)


@router.get("/{note_id}", response_model=NoteRead)
async def get_note(note_id: Id, session: ReadSession) -> Note:
    """Get a note."""
    return await service.get_note(session, note_id)


@router.get("", response_model=Page[NoteRead])
async def list_notes(
    session: ReadSession, page: Annotated[PageQuery, Query()], text: Text = ""
) -> Page[Note]:
    """List notes."""
    return await service.list_notes(session, text, page)
