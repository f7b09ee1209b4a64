"""Says that the service is about to stop before it stops, so that no request is lost on its way."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Shutdown:
    """The announcement: readiness says 503, and answers end their connections."""

    def __init__(self, delay: float) -> None:
        """The server stops `delay` seconds after the announcement."""
        self.announced = False
        self._delay = delay

    @contextmanager
    def drain_on_sigterm(self) -> Iterator[None]:
        """During the block, have SIGTERM announce the end before the server learns of it.

        Until then the server goes on as if nothing had happened; then it closes its listener, as it
        would have done at once.
        """
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop) or threading.current_thread() is not threading.main_thread():
            # Nobody waits for a signal here, or Python does not let us.
            yield
            return
        loop = asyncio.get_running_loop()

        def announce(number: int, frame: FrameType | None) -> None:
            self.announced = True
            loop.call_soon_threadsafe(loop.call_later, self._delay, stop, number, frame)
            # A second signal means it.
            signal.signal(signal.SIGTERM, stop)

        signal.signal(signal.SIGTERM, announce)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) is announce:
                signal.signal(signal.SIGTERM, stop)


class ConnectionDrainMiddleware:
    """Has clients take another connection, and so another process, after the announcement."""

    def __init__(self, app: ASGIApp, shutdown: Shutdown) -> None:
        self.app = app
        self.shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back."""
        if scope["type"] != "http" or not self.shutdown.announced:
            await self.app(scope, receive, send)
            return

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, send_last)
