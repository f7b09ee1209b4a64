"""Items as clients see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Id, Money, Price, StrictId, Text, omittable

Name = Annotated[Text, Field(min_length=1, max_length=200, examples=["Lamp"])]
Description = Annotated[Text, Field(max_length=10_000, examples=["Made of brass."])]


class ItemCreate(BaseModel):
    """A new item."""

    name: Name
    description: Description | None = None
    price: Price
    user_id: StrictId | None = None


class ItemUpdate(BaseModel):
    """A change of an item; omitted fields keep their values."""

    name: Name = omittable()
    description: Description | None = None
    price: Price = omittable()
    user_id: StrictId | None = None


class ItemRead(BaseModel):
    """An item."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    name: Annotated[str, Field(examples=["Lamp"])]
    description: Annotated[str | None, Field(examples=["Made of brass."])]
    price: Money
    created_at: datetime
    user_id: Id | None


class ItemsCreated(BaseModel):
    """How many items a bulk request created."""

    created: int
