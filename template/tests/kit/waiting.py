"""WaitLog for what must come, and timing what must not wait."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Self

TICK = 0.01


async def advance_clock(seconds: float) -> None:
    """Let so many seconds pass at once, and happen what is due by then. Do so in an event loop of
    your own, by `asyncio.run`: its time is ahead from then on."""
    loop = asyncio.get_running_loop()
    ahead = loop.time() + seconds - time.monotonic()
    loop.time = lambda: time.monotonic() + ahead  # type: ignore[method-assign]
    for _ in range(5):
        await asyncio.sleep(0)


class Stopwatch:
    """Counts the seconds of a block in ticks.

    While a process waits, its ticks come in time. On a machine that is busy or stands still they
    come late, and one that is late counts little more than one in time: it says nothing about the
    service.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _tick(self) -> None:
        then = time.monotonic()
        while not self._stopped.wait(TICK):
            now = time.monotonic()
            self.seconds += min(now - then, 2 * TICK)
            then = now


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait until something is so; fail if it is not in time, by a stopwatch."""
    with Stopwatch() as watch:
        while not await condition():
            assert watch.seconds < seconds
            await asyncio.sleep(2 * TICK)
