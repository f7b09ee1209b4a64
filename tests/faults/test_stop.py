"""The service is told to end, or is killed."""

import asyncio
import json
import signal
import time

import pytest

from faults.crowd import RawClient, post
from faults.load import API, Answer
from faults.test_overload import slow_inserts
from faults.waiting import wait_until
from faults.world import World

SERVERS = pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)

# What an orchestrator waits before it kills is 30 s; the service leaves some to others.
GRACE = 20.0


def expect_end(world: World, seconds: float = GRACE) -> None:
    """Expect that the service ends in time, in good order, and leaves nothing on the server."""
    took = world.service.wait_until_gone(seconds)
    world.verdict.expect(took is not None, f"it still runs {seconds:g} s after SIGTERM")
    if took is not None:
        world.verdict.note(f"ended after {took:.1f} s")
        code = world.service.returncode
        world.verdict.expect(code in (0, -signal.SIGTERM), f"it ended with {code}")
    world.verdict.expect("Traceback" not in world.service.output, "the log has a traceback")


def expect_clean_server(world: World) -> None:
    """Expect that no session of the service is left."""
    try:
        wait_until(lambda: not world.database.sessions(), 3, "no sessions left")
    except AssertionError:
        world.verdict.expect(False, f"{world.database.sessions()} sessions are left")


@SERVERS
def test_sigterm_under_load(world: World) -> None:
    """Readiness says 503 while the listener is open still; what was accepted is answered."""
    world.watches_liveness = False
    world.ends = True
    world.start(SHUTDOWN_DELAY="1")
    slow_inserts(world, 0.7)
    before = log_length(world)
    ready_after: list[Answer] = []
    seen_before = logged_requests(world)
    with world.load(clients=6, operations=("read", "write"), keep_alive=False) as load:
        time.sleep(1.5)
        with world.outage(loses_database=False, kills_service=True) as outage:
            world.service.terminate()
            time.sleep(0.4)
            ready_after.append(world.ask("GET", "/health/ready", seconds=2))
            expect_end(world)

    # The system takes connections for the listener. When that is closed, it cuts off those that the
    # service has not seen yet; what the service has seen is in its log.
    seen = logged_requests(world) - seen_before
    answered = [answer for answer in load.answers if answer.status is not None]
    early = [a for a in load.answers if a.status is None and a.start < outage.start]
    world.verdict.expect(
        seen == len(answered), f"{seen - len(answered)} requests were accepted and not answered"
    )
    world.verdict.expect(not early, f"{len(early)} requests before the end were not answered")
    world.verdict.expect(
        ready_after[0].status == 503,
        f"readiness was {ready_after[0].status or 'refused'} right after SIGTERM, not 503",
    )
    in_flight = [a for a in load.answers if a.start < outage.start < a.end]
    failed = [answer for answer in in_flight if not answer.ok]
    world.verdict.expect(in_flight and not failed, f"{len(failed)} in flight failed")
    world.verdict.note(f"{len(in_flight)} in flight")
    expect_clean_server(world)
    log = world.database.server.log.read_text(errors="replace")[before:]
    unclean = log.count("unexpected EOF on client connection") + log.count("Aborted connection")
    world.verdict.expect(not unclean, f"{unclean} connections were not closed cleanly")


def logged_requests(world: World) -> int:
    """How many requests of the API the service has logged."""
    routes = (
        json.loads(line).get("route") or ""
        for line in world.service.output.splitlines()
        if line.startswith("{")
    )
    return sum(route.startswith("/api/") for route in routes)


def log_length(world: World) -> int:
    """The length of the database server's log."""
    return len(world.database.server.log.read_text(errors="replace"))


@pytest.mark.long
@SERVERS
def test_sigterm_with_a_frozen_database(world: World) -> None:
    world.watches_liveness = False
    world.ends = True
    world.start()
    with world.load(clients=4, keep_alive=False) as load:
        time.sleep(0.5)
        with world.outage(loses_database=False, kills_service=True):
            world.database.freeze()
            time.sleep(0.5)
            world.service.terminate()
            load._stopping.set()
            expect_end(world)
            world.database.thaw()
    expect_clean_server(world)


@pytest.mark.long
def test_sigterm_with_slow_clients(world: World) -> None:
    """Half of a head, half of a body, and an answer that is not fetched."""
    world.watches_liveness = False
    world.ends = True
    world.start()
    row = {"name": "x" * 200, "price": "1.00", "description": "x" * 10_000}
    world.answers_well(world.ask("POST", "/items/bulk", [row] * 800), 201)

    async def crawl() -> None:
        clients = [await RawClient.connect(world.service.port) for _ in range(30)]
        for client in clients[:10]:
            await client.send(b"GET /api/v1/us")
        for client in clients[10:20]:
            await client.send(post(f"{API}/items", b'{"name"', Content_Length="1000"))
        for client in clients[20:]:
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(f"GET {API}/items?limit=800 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(1)
        world.service.terminate()
        await asyncio.to_thread(expect_end, world)
        for client in clients:
            client.hang_up()

    asyncio.run(crawl())
    expect_clean_server(world)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"], indirect=True)
def test_kill_9_in_mid_transaction(world: World) -> None:
    """Nothing of it persists, the server forgets it, and the next process works at once."""
    world.watches_liveness = False
    world.ends = True
    world.start(probe=False)
    with world.load(clients=8) as load:
        time.sleep(1)
        with world.outage(loses_database=False, kills_service=True):
            world.service.kill()
            load._stopping.set()
    expect_clean_server(world)
    world.service.start()
    took = world.service.wait_until_ready(5)
    world.answers_well(world.ask("POST", "/items", {"name": "next", "price": "1.00"}), 201)
    world.verdict.note(f"the next one is ready {took:.1f} s after its start")
