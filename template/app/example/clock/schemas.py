"""The time as clients see it."""

from datetime import datetime

from pydantic import BaseModel


class Time(BaseModel):
    """A point in time, with offset."""

    now: datetime
