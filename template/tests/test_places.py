"""The queue for connections: in order, for a limited time, and refused early when it stands."""

import asyncio

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.db.database import Database
from app.db.places import INTERVAL, LOOKS, Places
from app.db.pool import close_surplus, pool_of, replace_pool
from tests.conftest import make_settings
from tests.waiting import Stopwatch, pass_time, until


async def test_places_are_given_in_the_order_of_coming() -> None:
    places = Places(1, patience=5)
    order: list[int] = []

    async def come(number: int) -> None:
        async with places.take():
            order.append(number)
            await asyncio.sleep(0)

    async with places.take():
        tasks = [asyncio.create_task(come(number)) for number in range(20)]
        await asyncio.sleep(0)
        assert places.waiting == 20
    # Who comes now is behind those who wait.
    await come(20)
    await asyncio.gather(*tasks)

    assert order == list(range(21))
    assert (places.taken, places.waiting) == (0, 0)


async def test_place_that_is_not_free_in_time_is_refused() -> None:
    places = Places(1, patience=0.05)
    async with places.take():
        with pytest.raises(PoolTimeoutError, match="in time"):
            await places.acquire()

    assert (places.taken, places.waiting) == (0, 0)


async def test_cancelled_waiters_leave_no_place_taken() -> None:
    places = Places(2, patience=5)

    async def hold() -> None:
        async with places.take():
            await asyncio.sleep(0.001)

    for moment in range(50):
        tasks = [asyncio.create_task(hold()) for _ in range(10)]
        for _ in range(moment % 7):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (places.taken, places.waiting) == (0, 0)


def test_queue_that_stands_is_sent_away_early() -> None:
    async def main() -> None:
        places = Places(1, patience=60)
        async with places.take():
            waiting = [asyncio.create_task(places.acquire()) for _ in range(10)]
            await asyncio.sleep(0)
            for _ in range(LOOKS - 1):
                await pass_time(INTERVAL)
            assert places.waiting == 10
            await pass_time(INTERVAL)
            done, first = await asyncio.wait(waiting, timeout=0)
            # The first may be served yet.
            assert first == {waiting[0]}
            assert all(isinstance(task.exception(), PoolTimeoutError) for task in done)

            newcomer = asyncio.create_task(places.acquire())
            await asyncio.sleep(0)
            assert newcomer.done()
            assert "too many" in str(newcomer.exception())
        await waiting[0]
        places.release()

    asyncio.run(main())


def test_queue_that_moves_takes_newcomers() -> None:
    async def main() -> None:
        places = Places(1, patience=600)
        served = 0
        ended = False

        async def work() -> None:
            nonlocal served
            while not ended:
                async with places.take():
                    await asyncio.sleep(0)
                served += 1

        # Every one of them waits for hundred others, which are quick.
        workers = [asyncio.create_task(work()) for _ in range(100)]
        for _ in range(100 * LOOKS):
            await pass_time(INTERVAL)
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


async def test_connections_that_are_not_needed_any_more_are_closed(own_url: str) -> None:
    settings = make_settings(own_url, database_pool_size=2, database_max_overflow=6)
    database = Database(settings)
    places = Places(8, patience=1)

    async def read() -> None:
        async with places.take(), database.reader.connect() as connection:
            await connection.execute(select(1))
            await asyncio.sleep(0.05)

    async def all_closed() -> bool:
        return not pool_of(database.reader).checkedin()

    await asyncio.gather(*(read() for _ in range(4)))
    assert pool_of(database.reader).checkedin() == 4

    tidying = asyncio.create_task(close_surplus(database.reader, places, settings, seconds=0.1))
    await until(all_closed, 0.5)

    # While they are needed they stay.
    await asyncio.gather(*(read() for _ in range(4)))
    assert pool_of(database.reader).checkedin() == 4
    tidying.cancel()
    await database.close()
