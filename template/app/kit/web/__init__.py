"""The web layer for endpoints: router, sessions and transactions, errors, field types."""

from app.kit.errors import DomainError
from app.kit.web.dependencies import DatabaseDep, get_database, get_settings
from app.kit.web.fields import (
    STORABLE,
    Amount,
    AwareDatetime,
    Balance,
    Id,
    Money,
    Price,
    StrictId,
    Text,
    omittable,
)
from app.kit.web.idempotency import set_principal
from app.kit.web.locations import CREATED, set_location
from app.kit.web.problems import ProblemError
from app.kit.web.transaction import ReadSession, Router, WriteSession, transaction

__all__ = [
    "CREATED",
    "STORABLE",
    "Amount",
    "AwareDatetime",
    "Balance",
    "DatabaseDep",
    "DomainError",
    "Id",
    "Money",
    "Price",
    "ProblemError",
    "ReadSession",
    "Router",
    "StrictId",
    "Text",
    "WriteSession",
    "get_database",
    "get_settings",
    "omittable",
    "set_location",
    "set_principal",
    "transaction",
]
