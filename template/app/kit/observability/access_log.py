"""An id and one log line for each request.

The id is the client's or the proxy's `X-Request-ID`, else a new one. It is given back in the answer
and is on every line that is logged meanwhile, so that one search finds all that belongs together.
"""

import logging
import os
import re
import time
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"x-request-id"
# Ids of all kinds of proxies, and nothing that could forge a log line or a header.
VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/@-]{1,128}")
# What proxies call the status of a request whose client did not wait for the answer.
CLIENT_CLOSED_REQUEST = 499

Header = tuple[bytes, bytes]

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is being answered; None outside of requests."""

logger = logging.getLogger("app.access")

_templates: WeakKeyDictionary[FastAPI, dict[Callable[..., Any] | None, str | None]]
_templates = WeakKeyDictionary()


class AccessLogMiddleware:
    """Gives each request its id, and logs it when its answer is complete.

    The line names the route, `/orders/{order_id}`, and never the path or the query, which may hold
    anything. Outermost of our layers, it measures all others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = _given_id(scope) or os.urandom(16).hex()
        # Not reset: what the server logs when the application failed belongs to the request, too.
        request_id.set(identifier)
        answer = ResponseRecorder(scope, send, _log, (HEADER, identifier.encode()))
        await answer.to(self.app, receive)


class ResponseRecorder:
    """The answer to a request, followed on its way to the client.

    `done` is called when it is complete; what the application still does after that, background
    tasks for example, is no part of it.
    """

    def __init__(
        self, scope: Scope, send: Send, done: Callable[[Any], None], *headers: Header
    ) -> None:
        """The `headers` are added to it."""
        self.scope = scope
        self.status = 0
        self.size = 0
        """Bytes of the body."""
        self.seconds = 0.0
        """From the request's head to the answer's last byte."""
        self._send = send
        self._done = done
        self._headers = headers
        self._complete = False
        self._started = time.perf_counter()

    async def to(self, app: ASGIApp, receive: Receive) -> None:
        """Have an application give it."""
        try:
            await app(self.scope, receive, self._pass_on)
        except CancelledError:
            self.status = self.status or CLIENT_CLOSED_REQUEST
            raise
        finally:
            # Without a status, the answer comes from a layer around all of ours.
            self.status = self.status or 500
            self._end()

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._headers:
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await self._send(message)
            return
        await self._send(message)
        if message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._end()

    def _end(self) -> None:
        if not self._complete:
            self._complete = True
            self.seconds = time.perf_counter() - self._started
            self._done(self)


def _log(answer: ResponseRecorder) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    method, route = answer.scope["method"], route_template(answer.scope)
    milliseconds = round(answer.seconds * 1000, 3)
    logger.info(
        "%s %s %d, %.1f ms, %d bytes",
        method,
        route or "(no route)",
        answer.status,
        milliseconds,
        answer.size,
        extra={
            "method": method,
            "route": route,
            "status": answer.status,
            "duration_ms": milliseconds,
            "bytes": answer.size,
        },
    )


def route_template(scope: Scope) -> str | None:
    """The path of the route that took a request, with names in place of values; None: none did."""
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    app = scope["app"]
    templates = _templates.get(app)
    if templates is None:
        templates = _templates[app] = {}
    if endpoint not in templates:
        templates |= {
            route.endpoint: route.path_format for route in iter_route_contexts(app.routes)
        }
        templates.setdefault(endpoint, None)
    return templates[endpoint]


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == HEADER:
            return str(value, "ascii") if VALID_REQUEST_ID.fullmatch(value) else None
    return None
