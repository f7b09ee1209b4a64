"""Accounts and articles as clients see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Id, Text


class AccountRead(BaseModel):
    """An account."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    name: str
    is_editor: bool


class ArticleWrite(BaseModel):
    """An article's text."""

    title: Annotated[Text, Field(min_length=1, max_length=100)]


class ArticleRead(BaseModel):
    """An article."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    title: str
    author_id: Id
    created_at: datetime
    updated_at: datetime
