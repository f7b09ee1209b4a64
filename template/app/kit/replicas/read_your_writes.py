"""Clients see their own writes, although replicas lag: who wrote reads from the primary a while.

The pin is a cookie, so that it holds on whichever process answers next. A client without cookies,
or with a wish of its own, sends `Cache-Control: no-cache`.
"""

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response

from app.kit.db.errors import AmbiguousCommitError
from app.kit.db.unit_of_work import UnitOfWork
from app.kit.replicas.database import ReplicatedDatabase, pin_seconds
from app.kit.settings import KitSettings
from app.kit.web.problems import ambiguous_commit

COOKIE = "read_primary_until"


async def run_unit(
    request: Request, work: Callable[[UnitOfWork], Awaitable[Response]], **options: Any
) -> Response:
    """Run the unit of work of a request, on a replica unless it must see what its client wrote; pin
    the client to the primary if it writes. The options are those of `Database.run_unit`.

    Raises:
        Exception: As `Database.run_unit`, except that an ambiguous commit is answered here.
    """
    database: ReplicatedDatabase = request.app.state.database

    async def work_and_pin(unit: UnitOfWork) -> Response:
        response = await work(unit)
        if unit.wrote:
            pin_to_primary(response, database.settings)
        return response

    try:
        primary = wants_primary(request)
        return await database.run_unit(work_and_pin, from_primary=primary, **options)
    except AmbiguousCommitError as error:
        # It may have happened, and the client will check.
        response = await ambiguous_commit(request, error)
        pin_to_primary(response, database.settings)
        return response


def wants_primary(request: Request) -> bool:
    """Whether the client must not be answered from a replica."""
    if "no-cache" in request.headers.get("cache-control", "").lower():
        return True
    until = request.cookies.get(COOKIE, "")
    return len(until) <= 12 and until.isascii() and until.isdigit() and time.time() < int(until)


def pin_to_primary(response: Response, settings: KitSettings) -> None:
    """Have the client read from the primary until every replica that is read has what it wrote."""
    seconds = pin_seconds(settings)
    until = math.ceil(time.time() + seconds)
    response.set_cookie(
        COOKIE, str(until), max_age=math.ceil(seconds), httponly=True, samesite="lax"
    )
