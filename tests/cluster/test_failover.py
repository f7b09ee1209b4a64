"""The leader is lost or moves, a replica is lost, etcd is away; clients go on all the while."""

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from faults.load import Load
from faults.waiting import wait_until
from faults.world import World

from cluster.patroni import TTL, Cluster, Node

pytestmark = [pytest.mark.long, pytest.mark.parametrize("way", ["haproxy", "hosts"])]

# A node that does not renew its lock in time has lost it; then the others agree.
FAILOVER_SECONDS = TTL + 15
READS = ("read", "list")
WRITES = ("write", "write once", "transfer", "transfer once")


def start(world: World, cluster: Cluster, way: str) -> None:
    """Start the service, and return when it reads from a replica."""
    urls: dict[str, Any] = cluster.urls(world.database.name, proxy=way == "haproxy")
    world.start(**urls)
    wait_until(lambda: reads_replica(world), 15, "a replica is read")


def reads_replica(world: World) -> bool:
    """Whether some replica is well; one of several hosts is the leader, and not read."""
    checks = world.ask("GET", "/health/ready").body["checks"]
    wrong = str(checks["replica"]).split(", ")
    return wrong == ["ok"] or len([state for state in wrong if "promoted" not in state]) == 0


def play(
    world: World,
    cluster: Cluster,
    way: str,
    fault: Callable[[], object],
    is_over: Callable[[], object],
    *,
    loses_database: bool = True,
) -> tuple[Load, Load]:
    """Have a fault befall the cluster under load, until `is_over`; give what readers and writers
    met, whose cookies are apart."""
    start(world, cluster, way)
    with (
        world.load(clients=4, pause=0.05, operations=READS) as readers,
        world.load(clients=8, pause=0.05, operations=WRITES) as writers,
    ):
        time.sleep(1)
        with world.outage(loses_database=loses_database) as outage:
            fault()
            wait_until(is_over, FAILOVER_SECONDS, "the cluster is well again")
        world.recover(writers)
        time.sleep(1)
    world.verdict.note(f"cluster well after {outage.end - outage.start:.1f} s")
    writes = [a for a in writers.answers if a.ok]
    last = max(a.end for a in writes if a.start < outage.start)
    first = min(a.end for a in writes if a.start > last)
    world.verdict.note(f"no write for {longest_gap([a.end for a in writes]):.1f} s")
    world.verdict.note(f"first write {first - outage.end:+.1f} s from the new leader's readiness")
    for name, load in (("reads", readers), ("writes", writers)):
        failed = sum(load.failures().values())
        world.verdict.note(f"{failed} of {len(load.answers)} {name} failed {dict(load.failures())}")
    return readers, writers


def longest_gap(times: list[float]) -> float:
    """The longest time between two of them."""
    times = sorted(times)
    return max(after - before for before, after in pairwise(times))


def leader_of(cluster: Cluster) -> Node:
    leader = cluster.leader
    assert leader is not None
    return leader


def led_by_another(cluster: Cluster, old: Node) -> Callable[[], bool]:
    """Whether another node than the old leader takes writes."""
    return lambda: any(node.has_role("primary") for node in cluster.nodes if node is not old)


def expect_reads_go_on(world: World, readers: Load) -> None:
    """Expect that no reader noticed: a replica lived all the time."""
    failures = readers.failures()
    world.verdict.expect(not failures, f"reads failed: {dict(failures)}")


def test_leader_killed(world: World, cluster: Cluster, way: str) -> None:
    old = leader_of(cluster)
    readers, _ = play(world, cluster, way, old.kill, led_by_another(cluster, old))
    expect_reads_go_on(world, readers)


def test_leader_frozen_and_thawed(world: World, cluster: Cluster, way: str) -> None:
    old = leader_of(cluster)
    readers, _ = play(world, cluster, way, old.freeze, led_by_another(cluster, old))
    expect_reads_go_on(world, readers)
    # It believes that it leads for a moment; whatever it is sent then must not be acknowledged.
    with world.load(clients=6, pause=0.05), world.outage(loses_database=False):
        old.thaw()
        wait_until(cluster.is_whole, 60, "the old leader follows")
        time.sleep(1)


def test_leader_switched_over(world: World, cluster: Cluster, way: str) -> None:
    old = leader_of(cluster)
    over = led_by_another(cluster, old)
    readers, _ = play(world, cluster, way, cluster.switch_over, over, loses_database=False)
    expect_reads_go_on(world, readers)


@pytest.mark.parametrize("role", ["sync", "other"])
def test_replica_killed(world: World, cluster: Cluster, way: str, role: str) -> None:
    (waited_for,) = cluster.replicas("sync")
    others = [node for node in cluster.replicas() if node is not waited_for]
    victim = waited_for if role == "sync" else others[0]

    def another_is_waited_for() -> bool:
        return [node for node in cluster.replicas("sync") if node is not victim] != []

    readers, _ = play(world, cluster, way, victim.kill, another_is_waited_for, loses_database=False)
    expect_reads_go_on(world, readers)


def test_etcd_restarted(world: World, cluster: Cluster, way: str) -> None:
    def be_away() -> None:
        cluster.stop_etcd()
        # Longer than the nodes try to reach it; without the failsafe the leader would step down.
        time.sleep(TTL + 5)
        cluster.start_etcd()

    readers, writers = play(world, cluster, way, be_away, cluster.is_whole, loses_database=False)
    expect_reads_go_on(world, readers)
    failures = writers.failures()
    world.verdict.expect(not failures, f"writes failed: {dict(failures)}")
