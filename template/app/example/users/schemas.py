"""Users as clients see them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import STORABLE, Balance, Id, Money, Text, omittable

Username = Annotated[Text, Field(min_length=1, max_length=50, examples=["ada"])]
# A basic check; only a delivered message proves an address.
Email = Annotated[
    str,
    Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$", examples=["ada@example.org"]),
    STORABLE,
]


class UserCreate(BaseModel):
    """A new user."""

    username: Username
    email: Email
    balance: Balance = Decimal("0.00")


class UserUpdate(BaseModel):
    """A change of a user; omitted fields keep their values."""

    username: Username = omittable()
    email: Email = omittable()


class UserRead(BaseModel):
    """A user."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    username: Annotated[str, Field(examples=["ada"])]
    email: Annotated[str, Field(examples=["ada@example.org"])]
    balance: Money
    created_at: datetime
