"""The queue for connections: first come, first served, and refused early rather than late."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# A queue of which nobody was served in so many looks, so many seconds apart, stands.
STALL_TICKS = 8
TICK = 0.25


class AdmissionQueue:
    """The right to use one of an engine's connections.

    The pool by itself gives a connection that comes back to whoever asks next, not to who has
    waited longest; and when none comes back, it lets everybody wait for the full time.
    """

    def __init__(self, capacity: int, timeout: float) -> None:
        """`capacity` places, for which one waits at most `timeout` seconds."""
        self._capacity = self._free = capacity
        self._timeout = timeout
        # To each who waits it will be said whether there is a place.
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._ticks_since_admission = 0
        self._next_tick: asyncio.TimerHandle | None = None
        self.peak = 0
        """The most places that were in_use at once, since somebody set it back."""

    @property
    def in_use(self) -> int:
        """How many places are in_use."""
        return self._capacity - self._free

    @property
    def waiters(self) -> int:
        """How many wait for a place."""
        return len(self._queue)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Have a place during the block.

        Raises:
            sqlalchemy.exc.TimeoutError: None was free in time, or the queue stands.
        """
        await self.acquire()
        try:
            yield
        finally:
            self.release()

    async def acquire(self) -> None:
        """Take a place, which `release` gives back. Raises as `take` does."""
        if self._free:
            self._free -= 1
            self.peak = max(self.peak, self.in_use)
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._queue.append(waiter)
        if self._next_tick is None:
            self._ticks_since_admission = 0
            self._next_tick = loop.call_later(TICK, self._tick)
        self._shed_if_stalled()
        try:
            async with asyncio.timeout(self._timeout):
                has_place = await waiter
        except BaseException as error:
            if waiter in self._queue:
                self._queue.remove(waiter)
            elif not waiter.cancelled() and waiter.result():
                # The place came at the moment in which it was given up.
                self.release()
            if isinstance(error, TimeoutError):
                raise PoolTimeoutError("no connection was free in time") from None
            raise
        if not has_place:
            raise PoolTimeoutError("too many wait for a connection")

    def release(self) -> None:
        """Give a place back, to who has waited longest."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(True)
                self._ticks_since_admission = 0
                return
        self._free += 1

    def shed(self, keep: int = 0) -> None:
        """Send away all who wait, keep the first few."""
        while len(self._queue) > keep:
            waiter = self._queue.pop()
            if not waiter.done():
                waiter.set_result(False)

    def _tick(self) -> None:
        # Looks are counted, and not seconds, which pass as well while a busy process serves nobody.
        self._ticks_since_admission += 1
        self._shed_if_stalled()
        loop = asyncio.get_running_loop()
        self._next_tick = loop.call_later(TICK, self._tick) if self._queue else None

    def _shed_if_stalled(self) -> None:
        if self._ticks_since_admission >= STALL_TICKS:
            # As many as there are places may stay: they may all be served at once.
            self.shed(keep=self._capacity)
