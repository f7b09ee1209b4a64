"""Request timeouts, and cancellation after a disconnect."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kit.answers import DEFAULT_URL
from app.kit.middleware.requests import RequestMiddleware
from app.kit.middleware.shutdown import Shutdown
from app.kit.observability.access_log import ResponseRecord
from tests.kit.fixtures import make_settings
from tests.kit.waiting import Stopwatch, advance_clock


def limited(app: ASGIApp, request_timeout: float, body_timeout: float = 600) -> RequestMiddleware:
    """The middleware with these timeouts around an application."""
    settings = make_settings(
        str(DEFAULT_URL), request_timeout=request_timeout, body_timeout=body_timeout
    )
    layer = RequestMiddleware(settings, Shutdown(0), lambda app: app)
    layer.around(app)
    return layer


class Exchange:
    """A request to an application as a server makes it, and the response."""

    def __init__(self, app: ASGIApp, *, body: tuple[bytes, ...] | None = None) -> None:
        self.messages: list[Message] = []
        self.answered = asyncio.Event()
        self.disconnected = asyncio.Event()
        self._chunks = list(body or ())
        headers = [] if body is None else [(b"transfer-encoding", b"chunked")]
        scope: Scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": headers,
        }
        self.task = asyncio.ensure_future(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._chunks:
            return {"type": "http.request", "body": self._chunks.pop(0), "more_body": True}
        await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.answered.set()

    @property
    def status(self) -> int | None:
        """The status of the response, if there is one."""
        return self.messages[0]["status"] if self.messages else None


async def test_request_that_times_out_gets_its_response_before_the_cleanup() -> None:
    may_clean_up = asyncio.Event()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            await may_clean_up.wait()

    exchange = Exchange(limited(hang, 0.1))
    with Stopwatch() as watch:
        async with asyncio.timeout(60):
            await exchange.answered.wait()

    assert exchange.status == 504
    assert b"check whether it did" in exchange.messages[1]["body"]
    assert watch.seconds < 0.3
    assert not exchange.task.done()
    may_clean_up.set()
    await exchange.task
    # The client has its response already.
    assert [message["type"] for message in exchange.messages] == [
        "http.response.start",
        "http.response.body",
    ]


async def test_failure_after_the_timeout_sends_no_second_response() -> None:
    async def fail_when_told_to_end(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RuntimeError("a bug") from None

    exchange = Exchange(limited(fail_when_told_to_end, 0.05))
    await exchange.task

    assert exchange.status == 504
    assert len(exchange.messages) == 2


async def test_response_that_cannot_be_sent_logs_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise ValueError("what the client sent")
        except ValueError:
            await send({"type": "http.response.start", "status": 422, "headers": []})

    class ClosedTransport(Exchange):
        async def _send(self, message: Message) -> None:
            raise RuntimeError("the handler is closed")

    await ClosedTransport(limited(answer, 30)).task

    assert "RuntimeError" in caplog.text
    assert "what the client sent" not in caplog.text


async def test_request_whose_client_disconnected_is_cancelled() -> None:
    ended = asyncio.Event()

    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    records: list[ResponseRecord] = []
    layer = limited(hang, 30)
    layer.observers.append(records.append)
    exchange = Exchange(layer)
    exchange.disconnected.set()
    async with asyncio.timeout(5):
        await ended.wait()
    await exchange.task

    assert exchange.messages == []
    assert [record.status for record in records] == [499]
    assert layer.in_flight == 0


async def test_unfinished_body_of_a_disconnected_client_is_499() -> None:
    app = FastAPI()

    @app.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())

    records: list[ResponseRecord] = []
    layer = limited(app, 30)
    layer.observers.append(records.append)
    exchange = Exchange(layer, body=(b"{",))
    exchange.disconnected.set()
    await exchange.task

    assert exchange.messages == []
    assert [record.status for record in records] == [499]


async def test_server_may_cancel_a_request_at_any_time() -> None:
    async def hang(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(60)

    exchange = Exchange(limited(hang, 30))
    await asyncio.sleep(0)
    exchange.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await exchange.task


def test_response_that_has_begun_has_no_timeout() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"."
            await advance_clock(20)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await StreamingResponse(parts())(scope, receive, send)

    async def main() -> Exchange:
        exchange = Exchange(limited(stream, 30))
        await exchange.task
        return exchange

    body = b"".join(message.get("body", b"") for message in asyncio.run(main()).messages)
    assert body == b"...."


@pytest.mark.parametrize(("seconds", "status"), [(20, 204), (40, 504)])
def test_timeout_starts_after_the_body(seconds: float, status: int) -> None:
    async def read(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await advance_clock(seconds)
            await receive()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> Exchange:
        exchange = Exchange(limited(read, 30), body=(b"a", b"b", b"c"))
        await exchange.task
        return exchange

    assert asyncio.run(main()).status == status


async def test_body_that_does_not_arrive_in_time_is_408() -> None:
    app = FastAPI()

    @app.post("/")
    async def read(request: Request) -> int:
        return len(await request.body())

    exchange = Exchange(limited(app, 30, 0.1), body=(b"{",))
    await exchange.task

    assert exchange.status == 408
    headers = dict(exchange.messages[0]["headers"])
    assert headers[b"connection"] == b"close"
