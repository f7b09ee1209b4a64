"""What can be done with notes."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import NotFoundError
from app.kit.db import AsyncReadSession, Page, PageRequest, fetch_page, paged
from app.notes.models import Note

NOTES = paged(select(Note), by=Note.id)


async def create_note(session: AsyncSession, text: str) -> Note:
    """Add a note."""
    note = Note(text=text)
    session.add(note)
    await session.flush()
    return note


async def get_note(session: AsyncReadSession, note_id: int) -> Note:
    """One note.

    Raises:
        NotFoundError: There is none with this id.
    """
    note = await session.get(Note, note_id)
    if note is None:
        raise NotFoundError("note", note_id)
    return note


async def list_notes(session: AsyncReadSession, page: PageRequest) -> Page[Note]:
    """One page of all notes."""
    return await fetch_page(session, NOTES, page)
