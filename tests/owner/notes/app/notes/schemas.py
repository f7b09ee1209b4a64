"""Notes as clients see them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Id, PageRead, Text


class NoteCreate(BaseModel):
    """A new note."""

    text: Annotated[Text, Field(min_length=1, max_length=500)]


class NoteRead(BaseModel):
    """A note."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    text: str


class NotePage(PageRead[NoteRead]):
    """A page of notes."""
