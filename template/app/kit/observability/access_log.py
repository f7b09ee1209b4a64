"""The access log: one line for each request, and the id that all log lines of a request share.

The id is the client's or the proxy's `X-Request-ID`, or a new one. The response returns it.
"""

import logging
import re
from contextvars import ContextVar
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from fastapi.routing import iter_route_contexts
from starlette.types import Scope

MESSAGE = "%s %s %d, %.1f ms, %d bytes"

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the current request; None outside of requests."""

logger = logging.getLogger("app.access")

# By application and endpoint: the paths of its routes, as templates and regular expressions.
_paths: WeakKeyDictionary[Any, dict[Any, list[tuple[str, re.Pattern[str]]]]] = WeakKeyDictionary()


class ResponseRecord(NamedTuple):
    """A request and its response."""

    scope: Scope
    status: int
    size: int
    """Bytes of the response body."""
    seconds: float
    """From the request's head to the last byte of the response."""


def log_response(record: ResponseRecord) -> None:
    """Log a completed request.

    The line contains the route, `/orders/{order_id}`, and never the path or the query, which may
    contain personal data or secrets.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    method, route = record.scope["method"], route_template(record.scope)
    milliseconds = round(record.seconds * 1000, 3)
    values = (method, route or "(no route)", record.status, milliseconds, record.size)
    # Not logger.info, which would search the stack for its caller.
    line = logging.LogRecord(logger.name, logging.INFO, __file__, 0, MESSAGE, values, None)
    line.__dict__ |= {
        "method": method,
        "route": route,
        "status": record.status,
        "duration_ms": milliseconds,
        "bytes": record.size,
    }
    logger.handle(line)


def route_template(scope: Scope) -> str | None:
    """The path of a request's route, with parameter names in place of values; None without one."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    app = scope["app"]
    paths = _paths.setdefault(app, {})
    if endpoint not in paths:
        paths.clear()
        for route in iter_route_contexts(app.routes):
            if route.endpoint is not None and route.path_format is not None:
                pair = (route.path_format, route.path_regex)
                paths.setdefault(route.endpoint, []).append(pair)
        paths.setdefault(endpoint, [])
    if len(paths[endpoint]) == 1:
        return paths[endpoint][0][0]
    # A router may be included under several prefixes.
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return next((template for template, regex in paths[endpoint] if regex.match(path)), None)
