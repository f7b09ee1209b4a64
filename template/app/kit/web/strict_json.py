"""Strict JSON parsing: fields of type `Decimal` get the exact number, other fields a float, and
invalid JSON is rejected."""

import json
import math
from typing import Any, NoReturn, Self

from fastapi import Request

# Errors of the parser; RecursionError for deep nesting.
NOT_JSON = (ValueError, RecursionError)


# As Python's limit for int().
MAX_DIGITS = 4300


class ExactFloat(float):
    """A float that keeps its original text."""

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
    """A request whose JSON numbers are exact for fields of type `Decimal`."""

    async def json(self) -> Any:
        """The parsed body.

        Raises:
            json.JSONDecodeError: Malformed text or encoding, NaN, Infinity, and nesting or numbers
                beyond Python's limits.
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
    # For most numbers repr() is the original text, and a plain float costs a third.
    return number if repr(number) == text else ExactFloat(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
