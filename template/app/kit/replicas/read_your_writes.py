"""Clients see their own writes, although replicas lag: who wrote reads from the primary a while.

The pin is a cookie, so that it holds on whichever process answers next. A client without cookies,
or with a wish of its own, sends `Cache-Control: no-cache`.
"""

import math
import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from app.kit.db.database import UnitOfWork
from app.kit.db.errors import AmbiguousCommitError
from app.kit.replicas.database import ReplicatedDatabase, pin_seconds
from app.kit.settings import KitSettings
from app.kit.web.problems import ambiguous_commit

COOKIE = "read_primary_until"


async def run(request: Request, work: Callable[[UnitOfWork], Awaitable[Response]]) -> Response:
    """Run a request's work, on a replica unless it must see what its client wrote; and pin the
    client if the work writes.

    Raises:
        Exception: As `ReplicatedDatabase.run`, except that an unknown outcome is answered here.
    """
    database: ReplicatedDatabase = request.app.state.database

    async def work_and_pin(unit: UnitOfWork) -> Response:
        response = await work(unit)
        if unit.writes and not unit.rollback_only:
            pin_to_primary(response, database.settings)
        return response

    try:
        return await database.run_transaction(work_and_pin, from_primary=wants_primary(request))
    except AmbiguousCommitError as error:
        # It may have happened, and the client will look.
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
