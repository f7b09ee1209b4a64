"""Clients see their own writes, although replicas lag: who wrote reads from the primary a while.

The pin is a cookie, so that it holds on whichever process answers next. A client without cookies,
or with a wish of its own, sends `Cache-Control: no-cache`.
"""

import math
import time

from fastapi import Request, Response

from app.db.replicas import pin_seconds
from app.settings import Settings

COOKIE = "read_primary_until"


def wants_primary(request: Request) -> bool:
    """Whether the client must not be answered from a replica."""
    if "no-cache" in request.headers.get("cache-control", "").lower():
        return True
    until = request.cookies.get(COOKIE, "")
    return len(until) <= 12 and until.isascii() and until.isdigit() and time.time() < int(until)


def pin_to_primary(response: Response, settings: Settings) -> None:
    """Have the client read from the primary until every replica that is read has what it wrote."""
    seconds = pin_seconds(settings)
    until = math.ceil(time.time() + seconds)
    response.set_cookie(
        COOKIE, str(until), max_age=math.ceil(seconds), httponly=True, samesite="lax"
    )
