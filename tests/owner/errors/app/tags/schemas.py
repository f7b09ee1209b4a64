"""Tags as clients see them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Id, Text

Name = Annotated[Text, Field(min_length=1, max_length=50)]


class TagCreate(BaseModel):
    """A new tag."""

    name: Name
    locked: bool = False


class TagRead(BaseModel):
    """A tag."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    name: str
    locked: bool


class TagNames(BaseModel):
    """The tags that shall exist."""

    names: Annotated[list[Name], Field(max_length=20)]
