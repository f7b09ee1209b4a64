"""Invoices as clients see them."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.kit.web import Amount, Id, Money, Text


class InvoiceCreate(BaseModel):
    """A new invoice."""

    number: Annotated[Text, Field(min_length=1, max_length=20, examples=["2026-001"])]
    customer: Annotated[Text, Field(min_length=1, max_length=100, examples=["Acme"])]
    amount: Annotated[Amount, Field(lt=10**10)]


class InvoiceRead(BaseModel):
    """An invoice."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    number: Annotated[str, Field(examples=["2026-001"])]
    customer: Annotated[str, Field(examples=["Acme"])]
    amount: Money
    issued_at: datetime
    due_at: datetime
    paid: bool
