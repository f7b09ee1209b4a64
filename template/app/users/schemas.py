"""Users as clients see them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.web.fields import STORABLE, Balance, Text, unset

Username = Annotated[Text, Field(min_length=1, max_length=50)]
# Only a message that arrives proves an address; this refuses what cannot be one.
Email = Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$"), STORABLE]


class UserCreate(BaseModel):
    """A new user."""

    username: Username
    email: Email
    balance: Balance = Decimal("0.00")


class UserUpdate(BaseModel):
    """A change of a user; what is left out stays."""

    username: Username = unset()
    email: Email = unset()


class UserRead(BaseModel):
    """A user."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    username: str
    email: str
    balance: Decimal
    created_at: datetime
