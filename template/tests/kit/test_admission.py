"""The admission queue: order, timeout and load shedding."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.kit.db.admission import STALL_TICKS, TICK, AdmissionQueue
from app.kit.db.database import Database
from app.kit.db.pool import replace_pool
from tests.kit.application import make_settings
from tests.kit.waiting import Stopwatch, advance_clock


@asynccontextmanager
async def slot(queue: AdmissionQueue) -> AsyncIterator[None]:
    """Hold a slot during the block."""
    await queue.acquire()
    try:
        yield
    finally:
        queue.release()


async def test_waiters_are_admitted_in_order_of_arrival() -> None:
    queue = AdmissionQueue(1, timeout=5)
    order: list[int] = []

    async def hold(number: int) -> None:
        async with slot(queue):
            order.append(number)
            await asyncio.sleep(0)

    async with slot(queue):
        tasks = [asyncio.create_task(hold(number)) for number in range(20)]
        await asyncio.sleep(0)
        assert queue.waiters == 20
    # A later caller queues behind the waiters.
    await hold(20)
    await asyncio.gather(*tasks)

    assert order == list(range(21))
    assert (queue.in_use, queue.waiters) == (0, 0)


async def test_waiter_is_rejected_after_the_timeout() -> None:
    queue = AdmissionQueue(1, timeout=0.05)
    async with slot(queue):
        with pytest.raises(PoolTimeoutError, match="in time"):
            await queue.acquire()

    assert (queue.in_use, queue.waiters) == (0, 0)


async def test_cancelled_waiters_leak_no_slot() -> None:
    queue = AdmissionQueue(2, timeout=5)

    async def hold() -> None:
        async with slot(queue):
            await asyncio.sleep(0.001)

    for moment in range(50):
        tasks = [asyncio.create_task(hold()) for _ in range(10)]
        for _ in range(moment % 7):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.in_use, queue.waiters) == (0, 0)


def test_stalled_queue_is_shed_early() -> None:
    async def main() -> None:
        queue = AdmissionQueue(1, timeout=60)
        async with slot(queue):
            waiting = [asyncio.create_task(queue.acquire()) for _ in range(10)]
            await asyncio.sleep(0)
            for _ in range(STALL_TICKS - 1):
                await advance_clock(TICK)
            assert queue.waiters == 10
            await advance_clock(TICK)
            done, first = await asyncio.wait(waiting, timeout=0)
            # The first one may still be admitted.
            assert first == {waiting[0]}
            assert all(isinstance(task.exception(), PoolTimeoutError) for task in done)

            newcomer = asyncio.create_task(queue.acquire())
            await asyncio.sleep(0)
            assert newcomer.done()
            assert "too many" in str(newcomer.exception())
        await waiting[0]
        queue.release()

    asyncio.run(main())


def test_moving_queue_accepts_new_waiters() -> None:
    async def main() -> None:
        queue = AdmissionQueue(1, timeout=600)
        served = 0
        ended = False

        async def work() -> None:
            nonlocal served
            while not ended:
                async with slot(queue):
                    await asyncio.sleep(0)
                served += 1

        # Each of them waits for a hundred others, which are quick.
        workers = [asyncio.create_task(work()) for _ in range(100)]
        for _ in range(100 * STALL_TICKS):
            await advance_clock(TICK)
        ended = True
        await asyncio.gather(*workers)

        assert served > 200

    asyncio.run(main())


async def test_connection_is_used_again(own_url: str) -> None:
    database = Database(make_settings(own_url))
    opened: list[object] = []
    for engine in database.engines:
        event.listen(engine.sync_engine, "connect", lambda *new: opened.append(new))
    for _ in range(3):
        async with database.read() as session:
            await session.execute(select(1))
        async with database.write() as session:
            await session.execute(select(1))
    await database.close()

    assert len(opened) == len(database.engines)


async def test_new_callers_do_not_wait_while_a_pool_is_replaced(own_url: str) -> None:
    database = Database(make_settings(own_url, database_pool_size=2, database_max_overflow=0))

    async def read() -> None:
        async with database.read() as session:
            await session.execute(select(1))

    for moment in range(20):
        await read()
        replacing = asyncio.create_task(replace_pool(database.reader))
        for _ in range(moment):
            await asyncio.sleep(0)
        with Stopwatch() as watch:
            await read()
        assert watch.seconds < 2  # The pool timeout is five.
        await replacing
    await database.close()
