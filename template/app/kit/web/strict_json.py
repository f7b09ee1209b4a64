"""JSON as it was sent: numbers are not rounded to floats, and what is not JSON is refused."""

import json
from decimal import Decimal
from typing import Any, NoReturn

from fastapi import Request

# The limit that Python has for whole numbers: int(Decimal("1e1000000000")) takes hours.
MAX_DIGITS = 4300
# What the parser raises; the last two for numbers and nesting beyond Python's limits.
NOT_JSON = (ValueError, ArithmeticError, RecursionError)


class StrictJSONRequest(Request):
    """A request whose JSON numbers arrive as they were written, not as the nearest float."""

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


def _parse_float(text: str) -> Decimal:
    number = Decimal(text)
    if max(len(text), abs(number.adjusted())) > MAX_DIGITS:
        raise ValueError("the number has too many digits")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
