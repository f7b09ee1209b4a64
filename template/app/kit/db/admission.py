"""The admission queue of a connection pool: first in, first out, with load shedding."""

import asyncio
from collections import deque

from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# A queue is stalled if no waiter was admitted for STALL_TICKS checks, TICK seconds apart.
STALL_TICKS = 8
TICK = 0.25


class AdmissionQueue:
    """Slots for the connections of an engine.

    A pool alone does not hand a returned connection to the longest waiter, and when none is
    returned, all callers wait until their timeout.
    """

    def __init__(self, capacity: int, timeout: float) -> None:
        """`capacity` slots; `acquire` waits at most `timeout` seconds for one."""
        self._capacity = self._free = capacity
        self._timeout = timeout
        # One future per waiter; True means admitted.
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._ticks_since_admission = 0
        self._next_tick: asyncio.TimerHandle | None = None

    @property
    def in_use(self) -> int:
        """How many slots are in use."""
        return self._capacity - self._free

    @property
    def waiters(self) -> int:
        """How many callers wait for a slot."""
        return len(self._queue)

    async def acquire(self) -> None:
        """Take a slot, which the caller must `release`.

        Raises:
            sqlalchemy.exc.TimeoutError: No slot was free in time, or the queue is stalled.
        """
        if self._free:
            self._free -= 1
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
                admitted = await waiter
        except BaseException as error:
            if waiter in self._queue:
                self._queue.remove(waiter)
            elif not waiter.cancelled() and waiter.result():
                # Admitted in the moment of the timeout or cancellation.
                self.release()
            if isinstance(error, TimeoutError):
                raise PoolTimeoutError("no connection was free in time") from None
            raise
        if not admitted:
            raise PoolTimeoutError("too many requests wait for a connection")

    def release(self) -> None:
        """Return a slot; the longest waiter gets it."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(True)
                self._ticks_since_admission = 0
                return
        self._free += 1

    def shed(self, keep: int = 0) -> None:
        """Reject all waiters except the first `keep`."""
        while len(self._queue) > keep:
            waiter = self._queue.pop()
            if not waiter.done():
                waiter.set_result(False)

    def _tick(self) -> None:
        # Counts ticks and not seconds, which also pass while this process is busy or paused.
        self._ticks_since_admission += 1
        self._shed_if_stalled()
        loop = asyncio.get_running_loop()
        self._next_tick = loop.call_later(TICK, self._tick) if self._queue else None

    def _shed_if_stalled(self) -> None:
        if self._ticks_since_admission >= STALL_TICKS:
            # The first `capacity` waiters stay: all of them may be admitted at once.
            self.shed(keep=self._capacity)
