"""Items as clients see them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.web.fields import Price, Reference, Text, unset

Name = Annotated[Text, Field(min_length=1, max_length=200)]
Description = Annotated[Text, Field(max_length=10_000)]


class ItemCreate(BaseModel):
    """A new item."""

    name: Name
    description: Description | None = None
    price: Price
    user_id: Reference | None = None


class ItemUpdate(BaseModel):
    """A change of an item; what is left out stays."""

    name: Name = unset()
    description: Description | None = None
    price: Price = unset()
    user_id: Reference | None = None


class ItemRead(BaseModel):
    """An item."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    description: str | None
    price: Decimal
    created_at: datetime
    user_id: int | None


class ItemsCreated(BaseModel):
    """How many items a bulk request created."""

    created: int
