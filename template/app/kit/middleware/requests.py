"""The outermost middleware: request ids, timeouts, headers and one access record per request."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.middleware.shutdown import Shutdown
from app.kit.observability.access_log import (
    ResponseRecord,
    log_response,
    request_id,
    route_template,
)
from app.kit.settings import KitSettings
from app.kit.web.problems import problem

# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers
# Headers that depend on the deployment, like Strict-Transport-Security, are up to the proxy.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
# Accepts the ids of common proxies, but no characters that could forge a log line or a header.
VALID_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/@-]{1,128}")
# The status that nginx logs if the client disconnects before the response.
CLIENT_CLOSED_REQUEST = 499
# Orchestrators and monitoring call these by IP address, so ALLOWED_HOSTS does not apply.
CALLED_BY_ADDRESS = ("/health/", "/metrics")
# Seconds before a request is watched for its timeout and a disconnect; most end before that.
GRACE = 0.25
EMPTY_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
PLAIN_TEXT = (b"content-type", b"text/plain; charset=utf-8")

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives each request an id and a timeout, and reports it when its response is complete."""

    app: ASGIApp

    def __init__(
        self, settings: KitSettings, shutdown: Shutdown, cors: Callable[[ASGIApp], ASGIApp]
    ) -> None:
        """`cors` wraps an application in the CORS middleware, if there is one."""
        self.request_timeout = settings.request_timeout
        self.body_timeout = settings.body_timeout
        # Tests want to see what an endpoint raised.
        self.raises = settings.environment == "test"
        self.shutdown = shutdown
        self.observers: list[Callable[[ResponseRecord], None]] = [log_response]
        """Called once for each request when its response is complete, before background tasks."""
        self.in_flight = 0
        """The number of requests without a complete response."""
        hosts = "|".join(map(re.escape, settings.allowed_hosts)).replace(r"\*", r"[^:]*")
        self._hosts = re.compile(rf"({hosts})(:\d+)?", re.IGNORECASE) if hosts else None
        self._cors = cors

    def around(self, app: ASGIApp) -> ASGIApp:
        """Wrap an application in this middleware."""
        self.app = self._cors(app)
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        identifier = headers.get(b"x-request-id", b"")
        if not VALID_REQUEST_ID.fullmatch(identifier):
            identifier = os.urandom(16).hex().encode()
        # Not reset: the server's log lines after a failure belong to the request, too.
        request_id.set(identifier.decode())
        app = self.app
        if self._hosts and not self._accepts(scope):
            app = self.respond(400, "The Host header names another host.")
        if scope["type"] == "websocket":
            await app(scope, receive, send)
            return
        has_body = b"content-length" in headers or b"transfer-encoding" in headers
        exchange = _Exchange(self, scope, receive, send, has_body)
        exchange.headers = [(b"x-request-id", identifier), *SECURITY_HEADERS]
        await exchange.run(app)

    def respond(self, status: int, detail: str) -> ASGIApp:
        """An error response instead of the application's."""
        return self._cors(problem(status, detail))

    def _accepts(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        host = Headers(scope=scope).get("host", "")
        assert self._hosts is not None
        return path.startswith(CALLED_BY_ADDRESS) or self._hosts.fullmatch(host) is not None


class _Exchange:
    """A request and its response.

    The response is 504 if none has begun `request_timeout` seconds after the last byte of the
    request. It is sent before the application is cancelled, whose cleanup may take longer. A
    response that has begun, like a stream, has no timeout.
    """

    headers: list[tuple[bytes, bytes]]

    def __init__(
        self, layer: RequestMiddleware, scope: Scope, receive: Receive, send: Send, has_body: bool
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._layer = layer
        self._scope = scope
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._started = time.perf_counter()
        self._last_byte = self._loop.time()
        self._body_deadline = self._last_byte + layer.body_timeout
        self._has_body = has_body
        self._all_received = not has_body
        self._empty_body_sent = False
        self._status = 0
        self._size = 0
        # The client has disconnected or got another response: discard what the application sends.
        self._abandoned = False
        self._timed_out = False
        self._ended = False
        self._reported = False
        self._watcher: asyncio.Task[None] | None = None
        delay = min(GRACE, layer.request_timeout)
        self._timer = self._loop.call_later(delay, self._watch)

    async def run(self, app: ASGIApp) -> None:
        """Call the application."""
        self._layer.in_flight += 1
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._abandoned or self._task.uncancel() > 0:
                raise
        except Exception as error:
            if self._reported and not self._layer.raises:
                # The server would close the connection, and with it the request that comes next.
                logger.error("%s failed", self._scope["method"], exc_info=error)
                return
            if not self._abandoned:
                raise
            # Without a traceback, which may quote values of the request.
            operation = f"{self._scope['method']} {route_template(self._scope)}"
            name = type(error).__name__
            logger.warning("%s raised %s after the response was abandoned", operation, name)
        finally:
            self._ended = True
            self._stop_watching()
            if self._timed_out and self._watcher is not None:
                await asyncio.wait([self._watcher])
            self._report()

    async def receive(self) -> Message:
        """Receive the next message of the request."""
        if not self._has_body and not self._empty_body_sent:
            # The watcher may have received the server's message.
            self._empty_body_sent = True
            return EMPTY_BODY
        try:
            async with asyncio.timeout_at(None if self._all_received else self._body_deadline):
                message = await self._receive()
                while not self._has_body and message["type"] == "http.request":
                    message = await self._receive()
        except TimeoutError:
            detail = f"The body did not arrive within {self._layer.body_timeout:g} seconds."
            raise HTTPException(408, detail, {"Connection": "close"}) from None
        if message["type"] == "http.disconnect" and not self._status:
            self._abandoned = True
        self._last_byte = self._loop.time()
        self._all_received = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the response, unless it is abandoned."""
        if self._abandoned:
            return
        if message["type"] == "http.response.start":
            self._stop_watching()
            if message["status"] == 413 and PLAIN_TEXT in message["headers"]:
                # FastAPI's body limit responds in plain text.
                self._abandoned = True
                await self._respond(413, "The body is too large.")
                return
        try:
            await self._pass_on(message)
        except Exception:
            self._abandoned = True
            raise

    async def _respond(self, status: int, detail: str) -> None:
        response = self._layer.respond(status, detail)
        await response(self._scope, self._receive, self._pass_on)

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if self._layer.shutdown.announced:
                # Makes the client reconnect, to another process.
                self.headers.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", ()), *self.headers]
            await self._send(message)
            self._status = message["status"]
            return
        await self._send(message)
        if message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._report()

    def _report(self) -> None:
        if self._reported:
            return
        self._reported = True
        self._layer.in_flight -= 1
        status = self._status or (CLIENT_CLOSED_REQUEST if self._abandoned else 500)
        seconds = time.perf_counter() - self._started
        record = ResponseRecord(self._scope, status, self._size, seconds)
        for observe in self._layer.observers:
            observe(record)

    def _stop_watching(self) -> None:
        self._timer.cancel()
        if self._watcher is not None and not self._timed_out:
            self._watcher.cancel()

    def _watch(self) -> None:
        remaining = self._last_byte + self._layer.request_timeout - self._loop.time()
        if self._all_received or remaining <= 0:
            self._watcher = asyncio.create_task(self._cancel_after(remaining))
        else:
            self._timer = self._loop.call_later(min(GRACE, remaining), self._watch)

    async def _cancel_after(self, seconds: float) -> None:
        """Cancel the application after the timeout, or earlier if the client disconnects."""
        try:
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            self._timed_out = self._abandoned = True
            await self._respond(
                504,
                f"The request took more than {self._layer.request_timeout:g} seconds. A change may "
                "have taken effect: check whether it did, or retry with an Idempotency-Key.",
            )
        self._abandoned = True
        if not self._ended:
            self._task.cancel()
