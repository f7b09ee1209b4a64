"""Transfers as clients see them."""

from datetime import datetime
from decimal import Decimal
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from app.web.fields import Amount, Reference


class TransferCreate(BaseModel):
    """A transfer to make."""

    from_user_id: Reference
    to_user_id: Reference
    amount: Amount

    @model_validator(mode="after")
    def _check_parties(self) -> Self:
        if self.from_user_id == self.to_user_id:
            raise ValueError("a transfer needs two different users")
        return self


class TransferMade(BaseModel):
    """A transfer just made, with the balances that it left."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    from_user_id: int
    to_user_id: int
    amount: Decimal
    from_balance: Decimal
    to_balance: Decimal


class TransferRead(BaseModel):
    """A transfer; a party that was deleted since is null."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    from_user_id: int | None
    to_user_id: int | None
    amount: Decimal
    created_at: datetime
