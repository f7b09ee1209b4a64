"""Transfers as clients see them."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.kit.web import Amount, Id, Money, StrictId


class TransferCreate(BaseModel):
    """A transfer to make."""

    from_user_id: StrictId
    to_user_id: Annotated[StrictId, Field(examples=[2])]
    amount: Amount

    @model_validator(mode="after")
    def _check_parties(self) -> Self:
        if self.from_user_id == self.to_user_id:
            raise ValueError("a transfer needs two different users")
        return self


class TransferMade(BaseModel):
    """A new transfer with the resulting balances."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    from_user_id: Id
    to_user_id: Id
    amount: Money
    from_balance: Money
    to_balance: Money


class TransferRead(BaseModel):
    """A transfer; a deleted party is null."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    from_user_id: Id | None
    to_user_id: Id | None
    amount: Money
    created_at: datetime
