"""The service starts whatever its database does, says so, and heals by itself."""

import subprocess
import time
from typing import Any

import pytest

from faults.proxy import black_hole
from faults.servers import migrate, start_migration
from faults.waiting import wait_until
from faults.world import LIVE_WITHIN, RECOVERY, World

SERVERS = pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)
ALL = pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"], indirect=True)


def expect_unready(world: World) -> None:
    """Expect that it lives, is not ready, and refuses work as it should."""
    world.verdict.expect(world.service.get("/health/live", LIVE_WITHIN) == 200, "it is not live")
    ready = world.ask("GET", "/health/ready")
    world.verdict.expect(ready.status == 503, f"readiness is {ready.status}")
    world.verdict.expect(ready.seconds < 2.2, f"readiness took {ready.seconds:.1f} s")
    for answer in (
        world.ask("GET", "/users"),
        world.ask("POST", "/items", {"name": "early", "price": "1.00"}),
    ):
        world.answers_well(answer, 503)
        world.verdict.note(f"{answer.operation} {answer.status} after {answer.seconds:.1f} s")


def expect_recovery(world: World) -> None:
    """Expect that it becomes ready, and works, by itself and soon."""
    took = world.service.wait_until_ready(RECOVERY * 2)
    world.verdict.expect(took <= RECOVERY, f"ready only after {took:.1f} s")
    world.verdict.note(f"ready after {took:.1f} s")
    world.answers_well(world.ask("POST", "/items", {"name": "late", "price": "1.00"}), 201)


@SERVERS
def test_start_with_the_database_down(world: World) -> None:
    world.proxy.refuse()
    world.start(ready=False)
    expect_unready(world)
    world.proxy.heal()
    expect_recovery(world)


@pytest.mark.long
@SERVERS
def test_start_with_the_database_silent(world: World) -> None:
    """Connections are accepted, and nobody ever answers."""
    world.proxy.swallow()
    world.start(ready=False)
    expect_unready(world)
    world.proxy.heal()
    expect_recovery(world)


@pytest.mark.long
@SERVERS
def test_start_with_the_database_unreachable(world: World) -> None:
    """Packets are swallowed: connecting neither succeeds nor fails."""
    with black_hole() as port:
        world.start(ready=False, DATABASE_URL=world.database.url(port))
        expect_unready(world)


@ALL
def test_start_before_the_migrations(world: World, databases: Any, kind: str) -> None:
    with databases(kind).empty() as database:
        url = database.url(getattr(database, "port", 0))
        world.start(ready=False, DATABASE_URL=url, DATABASE_MIGRATE_AT_START="false")
        expect_unready(world)
        result = migrate(world.python, world.project, url)
        world.verdict.expect(result.returncode == 0, result.stdout[-300:])
        expect_recovery(world)
        world.end_service()


@pytest.mark.long
@ALL
def test_three_migrations_at_once(world: World, databases: Any, kind: str) -> None:
    with databases(kind).empty() as database:
        url = database.url(getattr(database, "port", 0))
        start = time.monotonic()
        processes: list[subprocess.Popen[str]] = [
            start_migration(world.python, world.project, url) for _ in range(3)
        ]
        outputs = [process.communicate(timeout=60)[0] for process in processes]
        for process, output in zip(processes, outputs, strict=True):
            world.verdict.expect(process.returncode == 0, output[-300:])
        world.start(ready=False, DATABASE_URL=url)
        wait_until(lambda: world.service.get("/health/ready") == 200, 5, "readiness")
        world.verdict.note(f"all done after {time.monotonic() - start:.1f} s")
        world.end_service()
