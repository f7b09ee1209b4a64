"""Replicas that lag, die or hang; primaries that are lost to a standby."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from faults.load import API
from faults.proxy import Proxy, black_hole
from faults.servers import PASSWORD, USER, replicated_postgresql
from faults.verdict import Verdict
from faults.waiting import wait_until
from faults.world import World


class Cluster:
    """A world on a primary, which has a standby."""

    def __init__(self, world: World, primary: Any, standby: Any) -> None:
        self.world = world
        self.primary = primary
        self.standby = standby
        self.to_standby = Proxy(standby.port)

    def synchronize(self) -> None:
        """From now on a COMMIT on the primary waits for the standby."""
        self.world.database.set("synchronous_standby_names", "'*'")

    def promote(self) -> None:
        """Make the standby the primary, for the audit, too, and for new connections."""
        self.standby.promote()
        self.world.database.server = self.standby
        self.world.proxy.target = self.standby.port
        standby = "SELECT pg_is_in_recovery()"
        wait_until(lambda: not self.world.database.query(standby)[0][0], 10, "promotion")


@contextmanager
def cluster_of(name: str, projects: Any, verdict: Verdict, directory: Path) -> Iterator[Cluster]:
    """A primary, its standby, and the named service on the primary."""
    directory.mkdir()
    with (
        replicated_postgresql(projects["replica"], projects.python("replica")) as servers,
        servers[0].migrated() as database,
    ):
        _, primary, standby = servers
        world = World(verdict, database, projects.python("replica"), projects[name], directory)
        cluster = Cluster(world, primary, standby)
        try:
            yield cluster
        finally:
            cluster.to_standby.close()
            world.close()


@pytest.fixture
def replicated(projects: Any, verdict: Verdict, tmp_path: Path) -> Iterator[Cluster]:
    """A service that reads from the standby."""
    with cluster_of("replica", projects, verdict, tmp_path / "service") as cluster:
        cluster.world.extra_sessions = 1  # By which it looks at the primary.
        url = cluster.world.database.url(cluster.to_standby.port)
        cluster.world.start(DATABASE_REPLICA_URL=url)
        yield cluster


@pytest.fixture
def world(replicated: Cluster) -> World:
    """The world of the cluster."""
    return replicated.world


def replica_state(world: World) -> str:
    """What readiness says of the replica."""
    return str(world.ask("GET", "/health/ready").body["checks"]["replica"])


def expect_own_writes(world: World, times: int) -> None:
    """Expect that clients with cookies see what they wrote, at once."""
    missed = failed = 0
    base_url = f"http://127.0.0.1:{world.service.port}{API}"
    with httpx2.Client(base_url=base_url, trust_env=False, timeout=20) as http:
        for number in range(times):
            made = http.post("/items", json={"name": f"own {number}", "price": "1.00"})
            if made.status_code != 201:
                failed += 1
                continue
            path = f"/items/{made.json()['id']}"
            missed += http.get(path).status_code == 404
            http.patch(path, json={"name": "changed"})
            missed += http.get(path).json().get("name") != "changed"
    world.verdict.expect(not missed, f"{missed} own writes were not seen")
    world.verdict.expect(not failed, f"{failed} writes failed")
    world.verdict.note(f"own writes seen {times} times")


def expect_no_failures(world: World) -> None:
    """Expect that no client noticed."""
    failures = {key: n for load in world.loads for key, n in load.failures().items()}
    world.verdict.expect(not failures, f"failed: {failures}")


def test_replica_4_s_behind(replicated: Cluster, world: World) -> None:
    replicated.standby.delay(4)
    wait_until(lambda: replica_state(world) == "ok", 10, "the replica is read")
    with world.load(clients=4):
        expect_own_writes(world, 20)
        time.sleep(1)
    expect_no_failures(world)
    replicated.standby.delay(0)


@pytest.mark.long
def test_replica_dead(replicated: Cluster, world: World) -> None:
    wait_until(lambda: replica_state(world) == "ok", 10, "the replica is read")
    with world.load(clients=6):
        time.sleep(0.5)
        with world.outage(unseen=True, loses_database=False):
            replicated.standby.kill()
            time.sleep(1.5)
            world.verdict.expect(replica_state(world) != "ok", "readiness calls it ok")
            expect_own_writes(world, 10)
        replicated.standby.start()
        wait_until(lambda: replica_state(world) == "ok", 10, "the replica is read again")
        time.sleep(0.5)
    expect_no_failures(world)


@pytest.mark.long
def test_replica_blackholed(replicated: Cluster, world: World) -> None:
    wait_until(lambda: replica_state(world) == "ok", 10, "the replica is read")
    with world.load(clients=6) as load:
        time.sleep(0.5)
        with world.outage(unseen=True, loses_database=False):
            replicated.to_standby.swallow()
            time.sleep(4)
            world.verdict.expect(replica_state(world) != "ok", "readiness calls it ok")
            expect_own_writes(world, 10)
        replicated.to_standby.heal()
        wait_until(lambda: replica_state(world) == "ok", 10, "the replica is read again")
    expect_no_failures(world)
    slowest = max(answer.seconds for answer in load.answers)
    world.verdict.expect(slowest < 4, f"a request took {slowest:.1f} s")


# Failover: what was acknowledged is on the new primary, because COMMIT waited for it.


@pytest.fixture
def pair(projects: Any, verdict: Verdict, tmp_path: Path) -> Iterator[Cluster]:
    """A service on a primary whose standby has every commit."""
    with cluster_of("postgresql", projects, verdict, tmp_path / "failover") as cluster:
        cluster.synchronize()
        yield cluster


@pytest.mark.long
def test_failover_with_the_old_primary_dead(pair: Cluster) -> None:
    pair.world.start()
    with pair.world.load() as load:
        time.sleep(1)
        with pair.world.outage():
            kill(pair.primary)
            time.sleep(0.5)
            pair.promote()
        pair.world.recover(load)
    pair.world.judge()


@pytest.mark.long
def test_failover_with_the_old_primary_alive(pair: Cluster) -> None:
    """It takes no writes any more, but keeps its connections: the service must leave them."""
    world = pair.world
    world.start()
    with world.load() as load:
        time.sleep(1)
        with world.outage(loses_database=False):
            world.database.set("default_transaction_read_only", "on")
            time.sleep(0.5)
            pair.promote()
        world.recover(load)
        time.sleep(1)
    stale = 0
    for number in range(20):
        made = world.ask("POST", "/items", {"name": f"new {number}", "price": "1.00"})
        world.answers_well(made, 201)
        if made.status == 201:
            stale += world.ask("GET", f"/items/{made.body['id']}").status != 200
    world.verdict.expect(not stale, f"{stale} of 20 reads were answered by the old primary")
    world.judge()


@pytest.mark.long
@pytest.mark.parametrize(
    ("first", "wanted"),
    [("dead", "primary"), ("dead", "read-write"), ("blackholed", "primary")],
)
def test_failover_with_several_hosts_in_the_url(pair: Cluster, first: str, wanted: str) -> None:
    """Without a proxy that knows the primary: the service finds it among the hosts."""
    world = pair.world
    hosts = [f"host=127.0.0.1:{world.proxy.port}", f"host=127.0.0.1:{pair.to_standby.port}"]
    query = "&".join([*hosts, f"target_session_attrs={wanted}"])
    user = f"{USER}:{quote(PASSWORD, safe='')}"
    world.start(DATABASE_URL=f"postgresql://{user}@/{world.database.name}?{query}")
    with world.load() as load:
        time.sleep(1)
        with world.outage():
            if first == "dead":
                kill(pair.primary)
                world.proxy.refuse()
            else:
                world.proxy.swallow()
            target = world.proxy.target
            pair.promote()
            world.proxy.target = target
        world.recover(load, 12)
    world.judge()


@pytest.mark.long
def test_start_with_the_first_of_several_hosts_unreachable(pair: Cluster) -> None:
    world = pair.world
    with black_hole() as port:
        query = f"host=127.0.0.1:{port}&host=127.0.0.1:{world.proxy.port}"
        user = f"{USER}:{quote(PASSWORD, safe='')}"
        world.start(
            ready=False,
            DATABASE_URL=f"postgresql://{user}@/{world.database.name}?{query}",
        )
        answer = world.ask("GET", "/users")
        world.answers_well(answer, 200)
        ready = world.ask("GET", "/health/ready")
        world.verdict.expect(ready.status == 200, f"readiness is {ready.status}")
        world.verdict.note(f"first answer after {answer.seconds:.1f} s")


def kill(server: Any) -> None:
    """End a server as a machine that loses its power."""
    server._process.kill()
    server._process.communicate(b"\n")
    server._process = None
