"""Notes as clients see them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Id, Text


class NoteCreate(BaseModel):
    """A new note."""

    text: Annotated[Text, Field(min_length=1, max_length=500)]


class NoteRead(NoteCreate):
    """A note."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
