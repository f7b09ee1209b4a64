"""Ends requests that take too long, and those whose client has hung up."""

import asyncio
import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.observability.access_log import route_template
from app.kit.web.problems import problem

# How often a request that takes long is looked after.
INTERVAL = 1.0
NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}

logger = logging.getLogger(__name__)


class RequestTimeoutMiddleware:
    """Answers 504 to a request that has no answer after `seconds`, counted from its last byte.

    The answer comes first; what the request holds is cleaned up after that, however long it takes.
    An answer that has begun, like a stream, may take any time.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look after it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.seconds)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.timed_out or exchange.task.uncancel() > 0:
                raise
        except Exception as error:
            if not (exchange.timed_out or exchange.send_failed):
                raise
            # Nobody waits for its answer any more. Without a traceback, which would tell what the
            # request had held.
            name, operation = type(error).__name__, f"{scope['method']} {route_template(scope)}"
            logger.warning("%s ended by %s after its client had left", operation, name)
        finally:
            await exchange.end()


class _Exchange:
    """A request and its answer. Almost all are over before anything here happens but counting."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.timed_out = False
        self.send_failed = False
        self._ended = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._last_byte = self._loop.time()
        self._has_body = any(
            name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]
        )
        self._all_received = not self._has_body
        self._given_no_body = False
        self._looker: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(min(INTERVAL, seconds), self._look_after)

    async def receive(self) -> Message:
        if not self._has_body and not self._given_no_body:
            # The server's message may have been taken in the search for the client's end.
            self._given_no_body = True
            return NO_BODY
        message = await self._receive()
        while not self._has_body and message["type"] == "http.request":
            message = await self._receive()
        self._last_byte = self._loop.time()
        self._all_received = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self.timed_out:
            return
        if message["type"] == "http.response.start":
            self._stop_looking()
        try:
            await self._send(message)
        except Exception:
            self.send_failed = True
            raise

    async def end(self) -> None:
        """Note that the application is done with it."""
        self._ended = True
        self._stop_looking()
        if self.timed_out and self._looker is not None:
            await asyncio.wait([self._looker])

    def _stop_looking(self) -> None:
        self._timer.cancel()
        if self._looker is not None and not self.timed_out:
            self._looker.cancel()

    def _look_after(self) -> None:
        left = self._last_byte + self._seconds - self._loop.time()
        if self._looker is None and (self._all_received or left <= 0):
            self._looker = asyncio.create_task(self._give_up_in(left))
        elif self._looker is None:
            self._timer = self._loop.call_later(min(INTERVAL, left), self._look_after)

    async def _give_up_in(self, seconds: float) -> None:
        """Wait for the client's end or that of the time."""
        try:
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            self.timed_out = True
            await problem(
                504,
                f"The request took more than {self._seconds:g} seconds. If it was to change "
                "something, look whether it did, or repeat it with its Idempotency-Key.",
            )(self._scope, self._receive, self._send)
        self.timed_out = True
        if not self._ended:
            self.task.cancel()
