"""Conventions for routes."""

from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.kit.web.transaction import TransactionalRoute, read_session, write_session
from app.main import app


def sessions_are_in_transactions() -> Iterator[str]:
    """A route that asks for a session runs in a transaction, which Router begins and commits.

    Make the route's router with Router of app.kit.web in place of FastAPI's APIRouter.
    """
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        if isinstance(original, TransactionalRoute) or not isinstance(original, APIRoute):
            continue
        if _asks_for_session(original.dependant):
            yield f"{' '.join(sorted(route.methods or ()))} {route.path}"


RULES = [sessions_are_in_transactions]


def _asks_for_session(dependant: Dependant) -> bool:
    return dependant.call in (read_session, write_session) or any(
        map(_asks_for_session, dependant.dependencies)
    )
