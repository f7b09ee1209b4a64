"""Refuses request bodies that are too large or too slow, without reading them into memory."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.web.problems import problem


class BodyLimitMiddleware:
    """Answers 413 to bodies of more than `max_bytes`, and 408 to those that take more `seconds` to
    arrive. The server discards what is still to come."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = _declared_length(scope)
        if length is not None and length > self.max_bytes:
            await problem(413, self._too_large)(scope, receive, send)
            return
        if length == 0:
            await self.app(scope, receive, send)
            return
        expected = True
        received = 0
        end = asyncio.get_running_loop().time() + self.seconds

        async def receive_counted() -> Message:
            nonlocal expected, received
            try:
                async with asyncio.timeout_at(end if expected else None):
                    message = await receive()
            except TimeoutError:
                # Whoever sends so slowly does not deserve the connection.
                headers = {"Connection": "close"}
                raise HTTPException(408, self._too_slow, headers) from None
            expected = message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                # A chunked body does not say its length; the application is reading it.
                raise HTTPException(413, self._too_large)
            return message

        await self.app(scope, receive_counted, send)

    @property
    def _too_large(self) -> str:
        return f"The body is larger than {self.max_bytes} bytes."

    @property
    def _too_slow(self) -> str:
        return f"The body did not arrive within {self.seconds:g} seconds."


def _declared_length(scope: Scope) -> int | None:
    """In bytes; None if the request has a body and does not say."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
        if name == b"transfer-encoding":
            return None
    return 0
