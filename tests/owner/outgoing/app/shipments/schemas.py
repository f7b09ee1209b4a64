"""Shipments as clients see them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Id, Money, Price, Text


class ShipmentCreate(BaseModel):
    """A new shipment."""

    city: Annotated[Text, Field(min_length=1, max_length=100)]


class ShipmentRead(BaseModel):
    """A shipment."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    city: str
    price: Money | None


class Quote(BaseModel):
    """What the carrier answers."""

    price: Price
