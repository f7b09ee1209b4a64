"""A PostgreSQL cluster of three nodes, which Patroni keeps highly available, with its etcd."""

import asyncio
import json
import secrets
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import yaml
from faults.ports import free_port
from faults.servers import PASSWORD, USER, Database, Row, load, migrate
from faults.waiting import wait_until

from cluster import haproxy
from cluster.haproxy import HAProxy
from cluster.processes import kill, send, spawn, watch
from cluster.programs import Programs

NODES = 3
START_SECONDS = 60
# How long a leader may be silent, and how long the nodes try to reach etcd. Patroni allows no less
# than the first, which is most of the time that a failover takes.
TTL = 20
RETRY_SECONDS = 5
SCHEMA = "cluster_schema"


class Node:
    """A PostgreSQL server and the Patroni that looks after it."""

    def __init__(self, name: str, directory: Path, user: dict[str, Any]) -> None:
        self.name = name
        self.port = free_port()
        self.rest = free_port()
        self.directory = directory
        self._user = user

    def start(self, patroni: str) -> None:
        """Start it; it joins the others by itself."""
        spawn([patroni, "patroni.yml"], self.directory, self._user)

    def kill(self) -> None:
        """Have it lose its power."""
        kill(self.directory)

    def freeze(self) -> None:
        """Stop all its processes."""
        send(signal.SIGSTOP, self.directory)

    def thaw(self) -> None:
        """Undo `freeze`."""
        send(signal.SIGCONT, self.directory)

    def get(self, path: str) -> tuple[int, Any] | None:
        """What Patroni answers; None: nothing."""
        url = f"http://127.0.0.1:{self.rest}/{path}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(url, timeout=1) as answer:
                return answer.status, json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            return error.code, None
        except (OSError, ValueError):
            return None

    def has_role(self, role: str) -> bool:
        """Whether it is `primary`, `replica` or `sync`, and runs."""
        answer = self.get(role)
        return answer is not None and answer[0] == 200

    def configure(self, etcd: int, binaries: Path, password: str) -> None:
        """Write what Patroni is to know."""
        self.directory.mkdir()
        everybody = {"username": "postgres", "password": password}
        configuration = {
            "scope": "cluster",
            "name": self.name,
            "restapi": {
                "listen": f"127.0.0.1:{self.rest}",
                "connect_address": f"127.0.0.1:{self.rest}",
            },
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": 2,
                    "retry_timeout": RETRY_SECONDS,
                    # While etcd is away the leader goes on, as long as it sees the others.
                    "failsafe_mode": True,
                    # A COMMIT waits for a standby, and only that one may become the leader.
                    "synchronous_mode": True,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {
                            "max_connections": 100,
                            # The data need not survive a power cut of this machine.
                            "fsync": False,
                            "dynamic_shared_memory_type": "mmap",
                            "wal_keep_size": "256MB",
                        },
                    },
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.port}",
                "connect_address": f"127.0.0.1:{self.port}",
                "data_dir": str(self.directory / "data"),
                "bin_dir": str(binaries),
                "pgpass": str(self.directory / "pgpass"),
                "authentication": {
                    "superuser": everybody,
                    "replication": everybody,
                    "rewind": everybody,
                },
                "basebackup": [{"checkpoint": "fast"}],
                "parameters": {"unix_socket_directories": ""},
                "pg_hba": [
                    "host replication all 127.0.0.1/32 scram-sha-256",
                    "host all all 127.0.0.1/32 scram-sha-256",
                ],
            },
        }
        (self.directory / "patroni.yml").write_text(yaml.safe_dump(configuration))
        if self._user:
            for path in (self.directory, self.directory / "patroni.yml"):
                shutil.chown(path, self._user["user"], self._user["group"])


class Cluster:
    """The nodes, their etcd and the proxy before them."""

    def __init__(self, directory: Path, programs: Programs, server: Any) -> None:
        """`server` is the module of the rendered tests that runs PostgreSQL servers."""
        self.password = secrets.token_hex()
        self.directory = directory
        self.proxy: HAProxy
        self._programs = programs
        self._server = server
        self._etcd_directory = directory / "etcd"
        self._etcd_ports = free_port(), free_port()
        user = server.server_user()
        self.nodes = [
            Node(f"node{number}", directory / f"node{number}", user)
            for number in range(1, NODES + 1)
        ]

    def start(self) -> None:
        """Start everything, and return when all nodes stream."""
        self._etcd_directory.mkdir()
        self.start_etcd()
        binaries = self._server.find_binaries(self.directory)
        for node in self.nodes:
            node.configure(self._etcd_ports[0], binaries, self.password)
            node.start(self._programs.patroni)
        self.wait_until_whole()

    def start_etcd(self) -> None:
        """Start etcd."""
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        options = {
            "name": "etcd",
            "data-dir": "data",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"etcd={peer}",
        }
        command = [self._programs.etcd, *(f"--{name}={value}" for name, value in options.items())]
        spawn([*command, "--unsafe-no-fsync"], self._etcd_directory, {})

    def stop_etcd(self) -> None:
        """Have etcd lose its power."""
        kill(self._etcd_directory)

    @property
    def leader(self) -> Node | None:
        """The node that takes writes, and says so."""
        return next((node for node in self.nodes if node.has_role("primary")), None)

    def replicas(self, role: str = "replica") -> list[Node]:
        """The nodes that follow the leader; with the role `sync`, those that a COMMIT waits for."""
        return [node for node in self.nodes if node.has_role(role)]

    def is_whole(self) -> bool:
        """Whether there are a leader and two replicas, of which a COMMIT waits for one."""
        return (
            self.leader is not None
            and len(self.replicas()) == NODES - 1
            and len(self.replicas("sync")) == 1
        )

    def wait_until_whole(self) -> None:
        """Return when nothing is missing."""
        wait_until(self.is_whole, START_SECONDS, "a leader and its replicas")

    def restart(self, node: Node) -> None:
        """Start a node that was killed."""
        node.start(self._programs.patroni)

    def heal(self) -> None:
        """Undo what was done to the cluster."""
        for node in self.nodes:
            node.thaw()
            if node.get("patroni") is None and not node.has_role("replica"):
                node.kill()
                self.restart(node)
        self.wait_until_whole()

    def switch_over(self) -> None:
        """Have the leader hand over, on purpose, to the replica that has everything."""
        leader = self.leader
        assert leader is not None
        (candidate,) = self.replicas("sync")
        request = urllib.request.Request(
            f"http://127.0.0.1:{leader.rest}/switchover",
            json.dumps({"leader": leader.name, "candidate": candidate.name}).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60):
            pass

    def execute(self, statement: str, database: str = "postgres") -> list[Row]:
        """Run a statement on the leader, with all rights."""
        leader = self.leader
        assert leader is not None

        async def run() -> list[Row]:
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=leader.port,
                user="postgres",
                password=self.password,
                database=database,
                timeout=5,
            )
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close(timeout=5)

        return asyncio.run(run())

    def urls(self, name: str, *, proxy: bool) -> dict[str, str]:
        """The settings by which a service reaches a database, through the proxy or directly."""
        user = f"{USER}:{quote(PASSWORD, safe='')}"
        if proxy:
            primary, replica = (self.proxy.ports[role] for role in ("primary", "replica"))
            return {
                "DATABASE_URL": f"postgresql+asyncpg://{user}@127.0.0.1:{primary}/{name}",
                "DATABASE_REPLICA_URL": f"postgresql+asyncpg://{user}@127.0.0.1:{replica}/{name}",
            }
        hosts = [f"127.0.0.1:{node.port}" for node in self.nodes]
        query = "&".join(f"host={host}" for host in hosts)
        single = [f"postgresql+asyncpg://{user}@{host}/{name}" for host in hosts]
        return {
            "DATABASE_URL": f"postgresql+asyncpg://{user}@/{name}?{query}",
            # The one that leads is not read.
            "DATABASE_REPLICA_URL": ",".join(single),
        }


class ClusterDatabase(Database):
    """A database of the cluster, seen by who has all rights."""

    kind = "postgresql"

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.cluster = cluster

    def url(self, port: int = 0, password: str = PASSWORD) -> str:
        return self.cluster.urls(self.name, proxy=True)["DATABASE_URL"]

    def query(self, statement: str) -> list[Row]:
        return self.cluster.execute(statement, self.name)


@contextmanager
def cluster_of_three(
    directory: Path, programs: Programs, project: Path, python: Path
) -> Iterator[Cluster]:
    """A running cluster with a database that has the schema of a rendered project."""
    (server,) = load(project, "server")
    cluster = Cluster(directory, programs, server)
    with ExitStack() as stack:
        watcher = watch(directory)
        stack.callback(_end, watcher)
        stack.callback(kill, directory)
        cluster.start()
        ports = {node.port: node.rest for node in cluster.nodes}
        before = haproxy.before_nodes(programs.haproxy, directory / "haproxy", ports)
        cluster.proxy = stack.enter_context(before)
        literal = PASSWORD.replace("'", "''")
        cluster.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{literal}'")
        cluster.execute(f"CREATE DATABASE {SCHEMA} OWNER {USER}")
        result = migrate(python, project, **_named(cluster.urls(SCHEMA, proxy=False)))
        assert result.returncode == 0, result.stdout
        yield cluster


def _named(urls: dict[str, str]) -> dict[str, str]:
    return {"url": urls["DATABASE_URL"]}


def _end(watcher: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):
        watcher.communicate(timeout=30)


@contextmanager
def database_on(cluster: Cluster, name: str) -> Iterator[ClusterDatabase]:
    """A database with the schema and no rows, for one scenario."""
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE {SCHEMA} OWNER {USER}")
    try:
        yield ClusterDatabase(cluster, name)
    finally:
        cluster.heal()
        cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")
