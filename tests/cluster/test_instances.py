"""Several instances of the service on one database, behind HAProxy."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from faults.load import API
from faults.servers import start_migration
from faults.service import Service
from faults.waiting import wait_until
from faults.world import World

from cluster.haproxy import HAProxy, before_instances
from cluster.patroni import Cluster
from cluster.programs import Programs

pytestmark = pytest.mark.long

INSTANCES = 3
# Longer than HAProxy takes to notice.
SETTINGS = {"SHUTDOWN_DELAY": "1", "INSTANCES": str(INSTANCES)}


class Entrance:
    """The proxy before the instances, in place of a service for clients and probes."""

    def __init__(self, proxy: HAProxy) -> None:
        self.port = proxy.port
        self._proxy = proxy

    @property
    def output(self) -> str:
        """What it has logged."""
        return self._proxy.output

    def kill(self) -> None:
        """It ends with the scenario."""


@contextmanager
def running_instances(
    world: World, programs: Programs, directory: Path, **settings: str
) -> Iterator[list[Service]]:
    """Instances of the service, all ready, and HAProxy before them."""
    instances = []
    for number in range(1, INSTANCES + 1):
        (place := directory / f"instance{number}").mkdir()
        instance = Service(world.python, world.project, place, {**SETTINGS, **settings})
        world.services.append(instance)
        instance.start()
        instances.append(instance)
    for instance in instances:
        instance.wait_until_ready()
    ports = [instance.port for instance in instances]
    with before_instances(programs.haproxy, directory / "haproxy", ports) as proxy:
        entrance: Any = Entrance(proxy)
        world.services.append(entrance)
        wait_until(lambda: world.ask("GET", "/health/ready").status == 200, 10, "readiness")
        world.open_accounts()
        yield instances


@pytest.fixture
def instances(
    world: World, cluster: Cluster, programs: Programs, tmp_path: Path
) -> Iterator[list[Service]]:
    urls = cluster.urls(world.database.name, proxy=True)
    with running_instances(world, programs, tmp_path, **urls) as instances:
        yield instances
        world.end_service()


def wait_until_replica_is_read(instances: list[Service]) -> None:
    def is_read() -> bool:
        with httpx2.Client(trust_env=False) as http:
            urls = [f"http://127.0.0.1:{each.port}/health/ready" for each in instances]
            return all(http.get(url).json()["checks"]["replica"] == "ok" for url in urls)

    wait_until(is_read, 10, "a replica is read")


def test_rolling_restart_fails_no_request(world: World, instances: list[Service]) -> None:
    world.watch()
    with world.load(clients=12, pause=0.01) as kept, world.load(clients=6, keep_alive=False):
        time.sleep(1)
        for instance in instances:
            instance.terminate()
            took = instance.wait_until_gone(20)
            world.verdict.expect(took is not None, "an instance does not end")
            world.verdict.expect(instance.returncode == 0, f"it ended with {instance.returncode}")
            instance.start()
            instance.wait_until_ready()
            # Until HAProxy has seen it.
            time.sleep(1)
    world.verdict.expect(len(kept.answers) > 500, f"{len(kept.answers)} requests are no load")


def test_idempotency_key_counts_for_all_instances(world: World, instances: list[Service]) -> None:
    async def post(number: int) -> list[httpx2.Response]:
        body = {"name": f"once {number}", "price": "1.00"}
        headers = {"Idempotency-Key": f"key-{number}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            answers = await asyncio.gather(
                *(
                    http.post(f"http://127.0.0.1:{i.port}{API}/items", json=body, headers=headers)
                    for i in instances
                )
            )
        return list(answers)

    for number in range(30):
        answers = asyncio.run(post(number))
        made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
        # 409: the same request is in progress elsewhere.
        codes = {answer.status_code for answer in answers}
        world.verdict.expect(codes <= {201, 409}, f"answered with {codes}")
        world.verdict.expect(len(made) == 1, f"{len(made)} items for one key")
    rows = world.database.query("SELECT count(*) FROM items WHERE name LIKE 'once %'")
    world.verdict.expect(rows == [(30,)], f"{rows[0][0]} items for 30 keys")


def test_own_writes_are_seen_at_every_instance(world: World, instances: list[Service]) -> None:
    wait_until_replica_is_read(instances)
    missed = 0
    with httpx2.Client(trust_env=False, timeout=20) as http:
        for number in range(60):
            # One after the other, and never the one that wrote.
            writer, reader = (instances[(number + n) % INSTANCES] for n in (0, 1))
            body = {"name": f"own {number}", "price": "1.00"}
            made = http.post(f"http://127.0.0.1:{writer.port}{API}/items", json=body)
            assert made.status_code == 201, made.text
            path = f"{API}/items/{made.json()['id']}"
            missed += http.get(f"http://127.0.0.1:{reader.port}{path}").status_code != 200
    world.verdict.expect(not missed, f"{missed} own writes were not seen")


def test_instances_that_migrate_at_once_migrate_once(world: World, cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE at_once OWNER service")
    try:
        url = cluster.urls("at_once", proxy=True)["DATABASE_URL"]
        started = [start_migration(world.python, world.project, url) for _ in range(INSTANCES)]
        outputs = [process.communicate(timeout=60)[0] for process in started]
        ended = [process.returncode for process in started]
        world.verdict.expect(ended == [0] * INSTANCES, f"ended with {ended}: {outputs}")
        tables = cluster.execute("SELECT count(*) FROM alembic_version", "at_once")
        world.verdict.expect(tables == [(1,)], f"{tables} rows of alembic_version")
    finally:
        cluster.execute("DROP DATABASE at_once WITH (FORCE)")
