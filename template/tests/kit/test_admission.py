"""The queue for connections: in order, for a limited time, and refused early when it stands."""

import asyncio

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.kit.db.admission import STALL_TICKS, TICK, AdmissionQueue
from app.kit.db.database import Database
from app.kit.db.pool import replace_pool
from tests.kit.application import make_settings
from tests.kit.waiting import Stopwatch, advance_clock


async def test_queue_are_given_in_the_order_of_coming() -> None:
    queue = AdmissionQueue(1, timeout=5)
    order: list[int] = []

    async def come(number: int) -> None:
        async with queue.take():
            order.append(number)
            await asyncio.sleep(0)

    async with queue.take():
        tasks = [asyncio.create_task(come(number)) for number in range(20)]
        await asyncio.sleep(0)
        assert queue.waiters == 20
    # Who comes now is behind those who wait.
    await come(20)
    await asyncio.gather(*tasks)

    assert order == list(range(21))
    assert (queue.in_use, queue.waiters) == (0, 0)


async def test_place_that_is_not_free_in_time_is_refused() -> None:
    queue = AdmissionQueue(1, timeout=0.05)
    async with queue.take():
        with pytest.raises(PoolTimeoutError, match="in time"):
            await queue.acquire()

    assert (queue.in_use, queue.waiters) == (0, 0)


async def test_cancelled_waiters_leave_no_place_taken() -> None:
    queue = AdmissionQueue(2, timeout=5)

    async def hold() -> None:
        async with queue.take():
            await asyncio.sleep(0.001)

    for moment in range(50):
        tasks = [asyncio.create_task(hold()) for _ in range(10)]
        for _ in range(moment % 7):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (queue.in_use, queue.waiters) == (0, 0)


def test_queue_that_stands_is_sent_away_early() -> None:
    async def main() -> None:
        queue = AdmissionQueue(1, timeout=60)
        async with queue.take():
            waiting = [asyncio.create_task(queue.acquire()) for _ in range(10)]
            await asyncio.sleep(0)
            for _ in range(STALL_TICKS - 1):
                await advance_clock(TICK)
            assert queue.waiters == 10
            await advance_clock(TICK)
            done, first = await asyncio.wait(waiting, timeout=0)
            # The first may be served yet.
            assert first == {waiting[0]}
            assert all(isinstance(task.exception(), PoolTimeoutError) for task in done)

            newcomer = asyncio.create_task(queue.acquire())
            await asyncio.sleep(0)
            assert newcomer.done()
            assert "too many" in str(newcomer.exception())
        await waiting[0]
        queue.release()

    asyncio.run(main())


def test_queue_that_moves_takes_newcomers() -> None:
    async def main() -> None:
        queue = AdmissionQueue(1, timeout=600)
        served = 0
        ended = False

        async def work() -> None:
            nonlocal served
            while not ended:
                async with queue.take():
                    await asyncio.sleep(0)
                served += 1

        # Every one of them waits for hundred others, which are quick.
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


async def test_who_comes_while_connections_are_closed_does_not_wait(own_url: str) -> None:
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
        assert watch.seconds < 2  # For a connection it would wait five.
        await replacing
    await database.close()
