"""What can be done with notes."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import NotFoundError
from app.kit.db import AsyncReadSession, Page, PageQuery, paginate
from app.notes.models import Note


async def create_note(session: AsyncSession, text: str) -> Note:
    """Add a note."""
    note = Note(text=text)
    session.add(note)
    await session.flush()  # never commit: the route does
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


async def list_notes(session: AsyncReadSession, text: str, page: PageQuery) -> Page[Note]:
    """One page of the notes that contain a text, newest first."""
    statement = select(Note).order_by(Note.id.desc())
    if text:
        statement = statement.where(Note.text.contains(text, autoescape=True))
    return await paginate(session, statement, page)
