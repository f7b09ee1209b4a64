"""Connection draining: a shutdown is announced before the listener closes."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Shutdown:
    """Whether a shutdown is announced: readiness is then 503, and responses close connections."""

    def __init__(self, delay: float) -> None:
        """The server shuts down `delay` seconds after the announcement."""
        self.announced = False
        self._delay = delay

    @contextmanager
    def drain_on_sigterm(self) -> Iterator[None]:
        """During the block, let SIGTERM announce the shutdown, and pass it to the server after the
        delay. Until then the server accepts connections as before.
        """
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop) or threading.current_thread() is not threading.main_thread():
            # There is no handler to call, or signals cannot be handled in this thread.
            yield
            return
        loop = asyncio.get_running_loop()

        def announce(number: int, frame: FrameType | None) -> None:
            self.announced = True
            loop.call_soon_threadsafe(loop.call_later, self._delay, stop, number, frame)
            # A second signal takes effect at once.
            signal.signal(signal.SIGTERM, stop)

        signal.signal(signal.SIGTERM, announce)
        try:
            yield
        finally:
            if signal.getsignal(signal.SIGTERM) is announce:
                signal.signal(signal.SIGTERM, stop)
