"""The database goes away, hangs, or loses connections, while clients read and write."""

import random
import string
import time
from collections import Counter
from itertools import product

import pytest

from faults.load import Answer
from faults.verdict import tally
from faults.world import World

SERVERS = pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)


@SERVERS
@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_restart_under_load(world: World, how: str) -> None:
    world.start()
    with world.load() as load:
        time.sleep(0.5)
        with world.outage(unseen=True):
            world.database.stop(how)
            time.sleep(0.8)
            world.database.start()
        world.recover(load)


@SERVERS
def test_idle_connections_killed(world: World) -> None:
    world.start()
    with world.load():
        time.sleep(0.7)
    killed = world.database.end_sessions(busy=False)
    with world.load() as load:
        with world.outage(unseen=True, loses_database=False):
            time.sleep(1)
        world.recover(load)

    world.verdict.expect(killed >= 2, f"only {killed} connections were idle")
    world.verdict.expect(not load.failures(), f"failed: {dict(load.failures())}")
    world.verdict.note(f"{killed} killed")


@SERVERS
def test_busy_connections_killed(world: World) -> None:
    world.start()
    killed = 0
    with world.load(clients=12, pause=0) as load:
        with world.outage(unseen=True, loses_database=False):
            for _ in range(12):
                killed += world.database.end_sessions(busy=True)
                time.sleep(0.2)
        world.recover(load)

    reads = [answer for answer in load.answers if answer.operation in ("read", "list")]
    failed = [answer for answer in reads if not answer.ok]
    world.verdict.expect(not failed, f"{len(failed)} reads failed")
    world.verdict.note(f"{killed} killed")


@pytest.mark.long
@SERVERS
def test_connections_reset_12_times_in_6_s(world: World) -> None:
    world.start()
    with world.load() as load:
        with world.outage(unseen=True, loses_database=False):
            for _ in range(12):
                world.proxy.reset()
                time.sleep(0.5)
        world.recover(load)


@SERVERS
def test_every_answer_150_ms_late(world: World) -> None:
    world.start()
    with world.load() as load, world.outage(unseen=True, loses_database=False):
        world.proxy.delay = 0.15
        time.sleep(3)
        world.proxy.heal()

    world.verdict.expect(not load.failures(), f"failed: {dict(load.failures())}")


@pytest.mark.long
@SERVERS
def test_database_down_for_12_s(world: World) -> None:
    world.start()
    with world.load() as load:
        with world.outage():
            world.database.stop()
            time.sleep(12)
            world.database.start()
        world.recover(load)


@pytest.mark.long
@SERVERS
def test_database_frozen_for_15_s(world: World) -> None:
    world.start()
    with world.load() as load:
        with world.outage():
            # Who counts sessions would wait, too.
            world.database.freeze()
            time.sleep(15)
            world.database.thaw()
        world.recover(load)
    expect_instant_answers(world, load.answers)


@pytest.mark.long
@SERVERS
def test_network_split_for_15_s(world: World) -> None:
    world.start()
    with world.load() as load:
        with world.outage():
            world.proxy.swallow()
            time.sleep(15)
            world.proxy.heal()
        world.recover(load)
    expect_instant_answers(world, load.answers)


@pytest.mark.long
@SERVERS
def test_connections_half_open(world: World) -> None:
    world.start()
    with world.load() as load:
        with world.outage(loses_database=False):
            world.proxy.forget()
        # New connections are served at once; whoever waits on an old one must give it up.
        world.recover(load, 15)
    world.proxy.heal()


def expect_instant_answers(world: World, answers: list[Answer]) -> None:
    """Expect that the service knows, after a while, that the database is away."""
    outage = world.outages[-1]
    late = [a for a in answers if outage.start + 10 < a.start < outage.end - 1]
    slow = max((answer.seconds for answer in late), default=0)
    world.verdict.expect(slow < 2, f"10 s into the outage, requests still wait {slow:.1f} s")
    world.verdict.note(f"after 10 s of it {len(late)} requests, slowest {slow:.2f} s")


def test_every_connection_of_the_server_taken(world: World) -> None:
    world.start()
    with world.load() as load:
        time.sleep(0.5)
        with world.outage(loses_database=False), world.database.saturated():
            time.sleep(2)
        world.recover(load)
    refused = [answer for answer in load.answers if answer.status == 503]
    world.verdict.expect(refused, "no request noticed")


@SERVERS
def test_server_read_only(world: World) -> None:
    world.start()
    with world.load() as load:
        time.sleep(0.5)
        with world.outage(loses_database=False):
            world.database.read_only(True)
            # Whoever writes now finishes first.
            time.sleep(0.3)
            start = time.monotonic()
            time.sleep(2)
            end = time.monotonic()
            world.database.read_only(False)
        world.recover(load)

    during = [answer for answer in load.answers if start < answer.start and answer.end < end]
    reads = [answer for answer in during if answer.operation in ("read", "list")]
    writes = [answer for answer in during if answer not in reads]
    failed = [answer for answer in reads if not answer.ok]
    world.verdict.expect(reads and not failed, f"{len(failed)} of {len(reads)} reads failed")
    statuses = Counter(answer.status or answer.error for answer in writes)
    world.verdict.expect(set(statuses) == {503}, f"writes got {tally(statuses)}, not 503")
    world.verdict.note(f"meanwhile {len(reads)} reads served, {statuses[503]} writes refused")


@SERVERS
def test_cut_during_commit(world: World) -> None:
    """With a key: one row, and success on repeat. Without: never a false success, nor a double."""
    world.start()
    for number, (keyed, when) in enumerate(product((True, False), ("before", "after")), 1):
        case = f"{'with' if keyed else 'without'} key, {when} the server got it"
        name = f"cut {number}"
        headers = {"Idempotency-Key": name} if keyed else {}
        body = {"name": name, "price": "1.00"}
        with world.outage(loses_database=False):
            world.proxy.cut_at_commit(when)
            first = world.ask("POST", "/items", body, headers)
        cut = world.proxy.commits_cut == number
        world.verdict.expect(cut, f"{case}: no COMMIT was cut")
        world.answers_well(first, 503, 201)
        count = rows_named(world, name)
        if first.status == 201:
            world.verdict.expect(count == 1, f"{case}: {count} rows after a success")
        if keyed:
            world.answers_well(world.ask("POST", "/items", body, headers), 201)
            count = rows_named(world, name)
            world.verdict.expect(count == 1, f"{case}: {count} rows after the repetition")
        else:
            world.verdict.expect(count == (when == "after"), f"{case}: {count} rows")
            said = first.status == 201 or first.outcome_unknown
            world.verdict.expect(said, f"{case}: the answer does not say what is unknown")
        world.verdict.note(f"{case}: {first.status} after {first.seconds:.2f} s, {count} rows")


def rows_named(world: World, name: str) -> int:
    """How many items have a name."""
    rows = world.database.query(f"SELECT count(*) FROM items WHERE name = '{name}'")
    return int(rows[0][0])


def test_commit_that_fails(world: World) -> None:
    world.start()
    world.database.query(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = '23514'; END $$"
    )
    world.database.query(
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON items DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    for headers in ({}, {"Idempotency-Key": "late"}):
        for _ in range(5):
            answer = world.ask("POST", "/items", {"name": "late", "price": "1.00"}, headers)
            world.answers_well(answer, 422)
    (rows,) = world.database.query("SELECT count(*) FROM items")
    world.verdict.expect(rows == (0,), f"{rows[0]} rows")
    world.verdict.note("10 of 10 refused, no row")


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"], indirect=True)
def test_disk_full(world: World) -> None:
    """What does not fit is refused, all else goes on, and it heals when there is room."""
    with world.database.small_disk("items") as free_the_disk:
        world.start()
        # Not to be compressed.
        text = "".join(random.choices(string.printable, k=9_000))
        row = {"name": "x", "price": "1.00", "description": text}
        statuses = []
        for _ in range(40):
            answer = world.ask("POST", "/items/bulk", [row] * 100)
            world.answers_well(answer, 201, 503)
            statuses.append(answer.status)
            if answer.status == 503:
                break
        world.verdict.expect(503 in statuses, "the disk never was full")
        world.answers_well(world.ask("GET", "/users"), 200)
        world.answers_well(world.ask("GET", "/items?limit=1"), 200)
        free_the_disk()
        world.answers_well(world.ask("POST", "/items/bulk", [row] * 10), 201)
        world.verdict.note(f"full after {len(statuses)} writes, {statuses.count(503)} refused")
        world.end_service()
