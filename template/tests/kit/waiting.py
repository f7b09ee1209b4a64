"""Waiting for conditions, and timing, independent of the speed of the machine."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Self

TICK = 0.01


async def advance_clock(seconds: float) -> None:
    """Advance the clock of the event loop and run the callbacks that are due. Use a separate event
    loop, by `asyncio.run`: its clock stays ahead."""
    loop = asyncio.get_running_loop()
    ahead = loop.time() + seconds - time.monotonic()
    loop.time = lambda: time.monotonic() + ahead  # type: ignore[method-assign]
    for _ in range(5):
        await asyncio.sleep(0)


class Stopwatch:
    """Measures the seconds of a block in ticks.

    On a machine that is busy or paused, ticks are late; a late tick counts at most twice as much,
    so that delays of the machine are not attributed to the service.
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
    """Wait until a condition holds; fail after `seconds` of a stopwatch."""
    with Stopwatch() as watch:
        while not await condition():
            assert watch.seconds < seconds
            await asyncio.sleep(2 * TICK)
