"""JSON as it was sent: fields typed `Decimal` get the number that was written, all others the float
that Python makes of it, and what is not JSON is refused."""

import json
import math
from typing import Any, NoReturn, Self

from fastapi import Request

# What the parser raises; the last for nesting beyond Python's limits.
NOT_JSON = (ValueError, RecursionError)


# The limit that Python has for whole numbers.
MAX_DIGITS = 4300


class ExactFloat(float):
    """A float that remembers how it was written."""

    text: str

    def __new__(cls, text: str) -> Self:
        """Parse a number.

        Raises:
            ValueError: It is beyond the range of a float, or has too many digits.
        """
        number = super().__new__(cls, text)
        vanished = not number and any(
            digit in text.lower().partition("e")[0] for digit in "123456789"
        )
        if not math.isfinite(number) or vanished or len(text) > MAX_DIGITS:
            raise ValueError("the number is out of range")
        number.text = text
        return number

    def __str__(self) -> str:
        return self.text


class StrictJSONRequest(Request):
    """A request whose JSON numbers are exact where a field wants them to be."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            json.JSONDecodeError: For all that is not JSON: broken text or encoding, NaN, Infinity,
                nesting or numbers beyond Python's limits.
        """
        if not hasattr(self, "_strict_json"):
            try:
                self._strict_json = json.loads(
                    await self.body(), parse_float=_parse_float, parse_constant=_refuse_constant
                )
            except NOT_JSON:
                raise json.JSONDecodeError("this is not JSON", "", 0) from None
        return self._strict_json


def _parse_float(text: str) -> float:
    number = float(text)
    # Most floats say by themselves how they were written, and a plain one costs a third.
    return number if repr(number) == text else ExactFloat(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
