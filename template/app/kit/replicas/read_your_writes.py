"""Read-your-writes: after a write, a client is pinned to the primary until replicas have caught up.

The pin is a cookie, so that it applies in all processes. A client without cookies can send
`Cache-Control: no-cache` instead.
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
    """Run the unit of work of a request, on a replica unless the client is pinned; pin the client
    if it writes. The options are those of `Database.run_unit`.

    Raises:
        Exception: As `Database.run_unit`, except that the response to an ambiguous commit is
            returned, with a pin.
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
        # The commit may have succeeded, and the client will check.
        response = await ambiguous_commit(request, error)
        pin_to_primary(response, database.settings)
        return response


def wants_primary(request: Request) -> bool:
    """Whether a request must not read from a replica."""
    if "no-cache" in request.headers.get("cache-control", "").lower():
        return True
    until = request.cookies.get(COOKIE, "")
    return len(until) <= 12 and until.isascii() and until.isdigit() and time.time() < int(until)


def pin_to_primary(response: Response, settings: KitSettings) -> None:
    """Pin the client to the primary until every replica that is read has replayed its write."""
    seconds = pin_seconds(settings)
    until = math.ceil(time.time() + seconds)
    response.set_cookie(
        COOKIE, str(until), max_age=math.ceil(seconds), httponly=True, samesite="lax"
    )
