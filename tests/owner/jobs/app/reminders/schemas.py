"""Reminders as clients see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import AwareDatetime, Id, Text


class ReminderCreate(BaseModel):
    """A new reminder."""

    text: Annotated[Text, Field(min_length=1, max_length=200)]
    due: AwareDatetime


class ReminderRead(BaseModel):
    """A reminder."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    text: str
    due: datetime


class ReminderCount(BaseModel):
    """How many reminders there are, and for how many days after they were due."""

    count: int
    retention_days: int
