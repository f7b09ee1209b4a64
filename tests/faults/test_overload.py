"""More clients, slower clients and larger bodies than the service can serve."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from faults.crowd import RawClient, crowd, flood, post
from faults.load import API
from faults.verdict import tally
from faults.waiting import wait_until
from faults.world import World

SERVERS = pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)
ALL = pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"], indirect=True)

MEGABYTE = 1024 * 1024


@contextmanager
def lock_for(world: World, table: str, seconds: float) -> Iterator[None]:
    """Hold a table for so long, in another thread, from the beginning of the block on."""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with world.database.locked(table):
            held.set()
            free.wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    try:
        yield
    finally:
        free.set()
        thread.join()


def expect_service_at_once(world: World, path: str) -> None:
    """Expect an answer within a second of what liveness takes meanwhile: the end of a flood keeps
    the process busy, on a slow machine for longer, and that is not the database's."""
    with ThreadPoolExecutor() as threads:
        alive = threads.submit(world.ask, "GET", "/health/live")
        after = world.ask("GET", path)
    world.answers_well(after, 200)
    beside = alive.result().seconds
    told = f"next request {after.seconds:.2f} s, liveness beside it {beside:.2f} s"
    world.verdict.expect(after.seconds - beside <= 1, told)
    world.verdict.note(told)


@pytest.mark.long
@SERVERS
def test_pool_exhausted_by_locked_queries_for_20_s(world: World) -> None:
    world.start()
    with lock_for(world, "items", 20):
        start = time.monotonic()
        requests = [("GET", f"{API}/items", None)] * 150
        answers = crowd(world, requests, at_once=150)
        shed = [answer for answer in answers if answer.status == 503 and answer.seconds < 3]
        again = world.ask("GET", "/items")
        world.answers_well(again, 503, 504)
        time.sleep(max(0, start + 20 - time.monotonic()))
    expect_service_at_once(world, "/items")
    statuses = Counter(str(answer.status) for answer in answers)
    world.verdict.expect(set(statuses) <= {"503", "504"}, tally(statuses))
    world.verdict.expect(len(shed) >= 50, f"only {len(shed)} of 150 were shed within three seconds")
    world.verdict.note(f"{len(shed)} shed within 3 s")


def slow_inserts(world: World, seconds: float) -> None:
    """Have every INSERT of an item take so long."""
    if world.database.kind == "postgresql":
        world.database.query(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
        )
        world.database.query(
            "CREATE TRIGGER slow BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION slow()"
        )
    else:
        world.database.query(
            f"CREATE TRIGGER slow BEFORE INSERT ON items FOR EACH ROW DO SLEEP({seconds})"
        )


@pytest.mark.long
@SERVERS
def test_query_past_its_deadline_ends_on_the_server(world: World) -> None:
    world.start()
    slow_inserts(world, 30)
    answer = world.ask("POST", "/items", {"name": "slow", "price": "1.00"})
    world.answers_well(answer, 504)
    took = wait_until(lambda: not world.database.sessions(busy=True), 5, "the query ended")
    world.verdict.note(f"504 after {answer.seconds:.1f} s, the query ended {took:.1f} s later")


@SERVERS
def test_500_clients_hang_up(world: World) -> None:
    """Their queries stop, no connection leaks, and the next request is served at once."""
    world.start()
    get = f"GET {API}/items HTTP/1.1\r\nHost: x\r\n\r\n".encode()

    async def hang_up() -> None:
        for _ in range(10):
            connect = (RawClient.connect(world.service.port) for _ in range(50))
            clients = await asyncio.gather(*connect)
            for client in clients:
                await client.send(get)
            await asyncio.sleep(0.1)
            for client in clients:
                client.hang_up()

    with lock_for(world, "items", 20):
        asyncio.run(hang_up())
        try:
            took = wait_until(lambda: world.database.sessions(busy=True) == 0, 5, "no query left")
            world.verdict.note(f"the last query ended after {took:.2f} s")
        except AssertionError:
            left = world.database.sessions(busy=True)
            world.verdict.expect(False, f"5 s later {left} queries still wait for nobody")
    expect_service_at_once(world, "/items")


@pytest.mark.long
@ALL
def test_1000_connections_at_once(world: World) -> None:
    world.start()
    answers = flood(world, [f"{API}/users/{world.accounts[i % 8]}" for i in range(1000)])

    statuses = Counter(str(answer.status or answer.error) for answer in answers)
    world.verdict.expect(set(statuses) <= {"200", "503"}, tally(statuses))
    world.verdict.expect(statuses["200"] >= 100, f"only {statuses['200']} were served")
    expect_service_at_once(world, "/users")
    world.verdict.note(tally(statuses))


@pytest.mark.long
def test_300_clients_with_slow_bodies(world: World) -> None:
    """Others are served meanwhile, and the slow ones are cut off."""
    world.start(BODY_TIMEOUT="5")
    head = post(f"{API}/items", b"", Content_Length="1000")

    async def crawl() -> tuple[int, int]:
        clients = [await RawClient.connect(world.service.port) for _ in range(300)]
        for client in clients:
            await client.send(head)
        deadline = time.monotonic() + 15
        statuses = [asyncio.create_task(client.status(18)) for client in clients]
        while time.monotonic() < deadline and not all(task.done() for task in statuses):
            for client, task in zip(clients, statuses, strict=True):
                if not task.done():
                    client.writer.write(b" ")
            await asyncio.sleep(1)
        answered = [task.result() for task in statuses if task.done()]
        for task in statuses:
            task.cancel()
        for client in clients:
            client.hang_up()
        return len(answered), sum(status == 408 for status in answered)

    with world.load(clients=4) as load:
        ended, said = asyncio.run(crawl())
    world.verdict.expect(not load.failures(), f"others failed: {dict(load.failures())}")
    slowest = max(answer.seconds for answer in load.answers)
    world.verdict.expect(slowest < 1, f"others waited {slowest:.1f} s")
    world.verdict.expect(ended == 300, f"{300 - ended} of 300 were not cut off within 15 s")
    world.verdict.note(f"{ended} cut off, {said} by 408")


@pytest.mark.long
def test_300_clients_with_slow_heads(world: World) -> None:
    """Others are served meanwhile. (Whether the slow ones are cut off is the proxy's business.)"""
    world.start()

    async def crawl() -> None:
        clients = [await RawClient.connect(world.service.port) for _ in range(300)]
        for letter in b"GET /api/v1/users HTTP/1.1":
            for client in clients:
                client.writer.write(bytes([letter]))
            await asyncio.sleep(0.2)
        for client in clients:
            client.hang_up()

    with world.load(clients=4) as load:
        asyncio.run(crawl())
    world.verdict.expect(not load.failures(), f"others failed: {dict(load.failures())}")
    slowest = max(answer.seconds for answer in load.answers)
    world.verdict.expect(slowest < 1, f"others waited {slowest:.1f} s")


@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_bodies_of_60_mb(world: World, length: str) -> None:
    """Three at once are refused, and memory stays flat."""
    world.start()
    world.ask("POST", "/items", {"name": "warm", "price": "1.00"})
    before = world.service.memory

    async def send() -> int | None:
        client = await RawClient.connect(world.service.port)
        part = b"x" * MEGABYTE
        status = asyncio.create_task(client.status(20))
        if length == "declared":
            await client.send(post(f"{API}/items", b"", Content_Length=str(60 * MEGABYTE)))
        else:
            await client.send(post(f"{API}/items", b"", Transfer_Encoding="chunked"))
        try:
            for _ in range(60):
                data = part if length == "declared" else b"%x\r\n%s\r\n" % (len(part), part)
                await client.send(data)
            await client.send(b"" if length == "declared" else b"0\r\n\r\n")
        except OSError:
            pass  # It was told no, and went on; then it may be cut off.
        try:
            return await status
        finally:
            client.hang_up()

    async def send_three() -> list[int | None]:
        return list(await asyncio.gather(*(send() for _ in range(3))))

    statuses = asyncio.run(send_three())
    grown = (world.service.peak_memory - before) / MEGABYTE
    world.verdict.expect(statuses == [413] * 3, f"answers {statuses} instead of 413")
    world.verdict.expect(grown <= 60, f"memory grew by {grown:.0f} MB")
    world.verdict.note(f"answers {statuses}, memory +{grown:.0f} MB")
    world.answers_well(world.ask("GET", "/users"), 200)


def test_one_of_three_workers_killed(world: World) -> None:
    """The others serve on, another takes its place, and no acknowledged write is lost."""
    world.extra_sessions = 2 * 17
    world.start(WORKERS="3", probe=False)
    wait_until(lambda: len(world.service.workers) == 3, 10, "three workers")
    with world.load(keep_alive=False) as load:
        time.sleep(0.5)
        with world.outage(loses_database=False, kills_service=True):
            os.kill(world.service.workers[0], signal.SIGKILL)
        time.sleep(2.5)
    wait_until(lambda: len(world.service.workers) == 3, 10, "another worker")

    cut = [answer for answer in load.answers if answer.status is None]
    world.verdict.expect(len(cut) <= 8, f"{len(cut)} requests were cut off")
    world.verdict.note(f"{len(cut)} cut off")
