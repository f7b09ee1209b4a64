"""Announces a shutdown before it happens, so that no request is lost on its way."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Shutdown:
    """Whether a shutdown is announced: then readiness is 503, and responses close connections."""

    def __init__(self, delay: float) -> None:
        """The server shuts down `delay` seconds after the announcement."""
        self.announced = False
        self._delay = delay

    @contextmanager
    def drain_on_sigterm(self) -> Iterator[None]:
        """During the block, have SIGTERM announce the shutdown before the server learns of it.

        For the delay the server goes on as before; then it closes its listener, which it would
        otherwise have done at once.
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
            # A second signal does not wait.
            signal.signal(signal.SIGTERM, stop)

        signal.signal(signal.SIGTERM, announce)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) is announce:
                signal.signal(signal.SIGTERM, stop)
