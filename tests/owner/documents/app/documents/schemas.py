"""Folders and documents as clients see them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.documents.models import Status
from app.kit.web import Id, StrictId, Text, omittable

Name = Annotated[Text, Field(min_length=1, max_length=100)]


class FolderWrite(BaseModel):
    """A folder."""

    name: Name
    parent_id: StrictId | None = None


class FolderRead(BaseModel):
    """A folder."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    name: str
    parent_id: Id | None
    changed_at: datetime


class FolderWithChildren(FolderRead):
    """A folder, and the folders in it."""

    children: list[FolderRead]


class DocumentCreate(BaseModel):
    """A new document."""

    title: Name
    status: Status = Status.DRAFT
    facts: dict[str, Any] = {}
    published_on: date | None = None
    reading_time: timedelta | None = None
    folder_id: StrictId | None = None


class DocumentUpdate(BaseModel):
    """A change of a document; what is left out stays."""

    title: Name = omittable()
    status: Status = omittable()
    facts: dict[str, Any] = omittable()
    published_on: date | None = None
    reading_time: timedelta | None = None
    folder_id: StrictId | None = None


class DocumentRead(BaseModel):
    """A document."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    title: str
    status: Status
    facts: dict[str, Any]
    published_on: date | None
    reading_time: timedelta | None
    folder_id: Id | None
    created_at: datetime
    updated_at: datetime


class Anything(BaseModel):
    """Any JSON."""

    value: JsonValue
