"""Field types of requests and responses, whose values every database can store."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema

CENT = Decimal("0.01")
AMOUNT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
# Some drivers store datetime.min and datetime.max as infinity.
INFINITE = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


def _check_storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("the character NUL cannot be stored")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate is not valid text") from None
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        value = INFINITE[1]
    if value in INFINITE:
        raise ValueError("in UTC, the time is outside the years 1 to 9999")
    return value


def _check_amount(value: Any) -> Any:
    # Decimal also accepts "1_0", " 1 ", "1e1" and the digits of other scripts.
    if isinstance(value, str) and not AMOUNT.fullmatch(value):
        raise ValueError("this is not an amount; write it like 12.50")
    return value


def _with_cents(value: Decimal) -> Decimal:
    # Adding zero turns -0.00 into 0.00.
    return value.quantize(CENT) + 0


def _amount(digits: int, *, zero: bool) -> tuple[Any, ...]:
    """Annotations of an amount with `digits` digits, two of which are decimals."""
    whole = digits - 2
    minimum = "minimum" if zero else "exclusiveMinimum"
    number = {"type": "number", minimum: 0, "exclusiveMaximum": 10**whole}
    text = {"type": "string", "pattern": rf"^[0-9]{{1,{whole}}}(\.[0-9]{{1,2}})?$"}
    accepted = {"anyOf": [text, number], "examples": ["12.50"]}
    return (
        Field(ge=0) if zero else Field(gt=0),
        Field(max_digits=digits, decimal_places=2),
        BeforeValidator(_check_amount),
        AfterValidator(_with_cents),
        WithJsonSchema(accepted, mode="validation"),
    )


def omittable() -> Any:
    """The default of a field that a PATCH may omit, but not set to null."""
    return Field(default_factory=lambda: None)


# An id that exceeds 64 bits is rejected here, because drivers fail on it in different ways.
INT64 = {"type": "integer", "format": "int64", "examples": [1]}
Id = Annotated[int, Field(ge=-(2**63), lt=2**63), WithJsonSchema(INT64)]
# An id in a body, where, unlike in a path, "1" and true are not accepted.
StrictId = Annotated[Id, Strict()]
STORABLE = AfterValidator(_check_storable)
Text = Annotated[str, STORABLE]
# A point in time for a `UTCDateTime` column: requires an offset, and is converted to UTC.
AwareDatetime = Annotated[pydantic.AwareDatetime, AfterValidator(_to_utc)]
Price = Annotated[Decimal, *_amount(12, zero=True)]
Balance = Annotated[Decimal, *_amount(14, zero=True)]
Amount = Annotated[Decimal, *_amount(14, zero=False)]
# An amount in a response.
Money = Annotated[
    Decimal,
    WithJsonSchema(
        {
            "type": "string",
            "format": "decimal",
            "pattern": r"^[0-9]+\.[0-9]{2}$",
            "examples": ["12.50"],
        },
        mode="serialization",
    ),
]
