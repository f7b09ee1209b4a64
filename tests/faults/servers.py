"""The servers of the rendered services' own tests, and what befalls a machine that runs one.

`tests/kit/server.py` and `tests/kit/replicas/standby.py` of the rendered projects start and stop
them; here is what the faults need besides: to freeze, kill and look into them.
"""

import asyncio
import importlib
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import asyncpg
import pymysql
import pytest
from services import environment

Row = tuple[Any, ...]

# Of the service's own user, which has no rights that a service should not have. It holds every
# character that means something somewhere.
PASSWORD = "p%40ss %s:/?#[]@!$&'()*+,;=\"<>\\^`{|}~ü" + secrets.token_hex(8)
USER = "service"
# As it is in a URL, and as it is.
SECRETS = (PASSWORD, quote(PASSWORD, safe=""))
# Of somebody else, who takes what the service needs.
OTHER = "other"


def load(project: Path, *names: str) -> list[Any]:
    """Modules of a rendered project's tests, which may import each other."""
    sys.path.insert(0, str(project))
    try:
        return [importlib.import_module(f"tests.kit.{name}") for name in names]
    finally:
        sys.path.remove(str(project))
        for loaded in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
            # The next project has modules of the same names.
            del sys.modules[loaded]


class Database:
    """A database with the service's schema, for one scenario alone."""

    kind = ""

    def __init__(self, url: str) -> None:
        self.name = urlsplit(url).path.removeprefix("/")

    def url(self, port: int, password: str = PASSWORD) -> str:
        """The URL for the service, by way of a port."""
        raise NotImplementedError

    def query(self, statement: str) -> list[Row]:
        """Run a statement, committed at once, with all rights, and give its rows."""
        raise NotImplementedError

    def sessions(self, *, busy: bool = False) -> int:
        """The number of the service's sessions, or of those in a statement or a transaction."""
        raise NotImplementedError

    def end_sessions(self, *, busy: bool) -> int:
        """End the service's sessions that do nothing, or those that do something."""
        raise NotImplementedError

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Hold a lock that even readers of a table wait for."""
        raise NotImplementedError
        yield


class PostgreSQL(Database):
    """A PostgreSQL server with databases, and what can befall it."""

    kind = "postgresql"

    def __init__(self, server: Any, url: str) -> None:
        super().__init__(url)
        self.server = server

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(self.server.port)

    def url(self, port: int, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{port}/{self.name}"

    def query(self, statement: str) -> list[Row]:
        return asyncio.run(self._query(statement))

    async def _query(self, statement: str) -> list[Row]:
        # Where all connections are taken, those for administrators may be, too, for a moment.
        deadline = time.monotonic() + 5
        while True:
            try:
                connection = await self.connect()
                break
            except asyncpg.TooManyConnectionsError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close(timeout=5)

    async def connect(self, user: str = "postgres", password: str | None = None) -> Any:
        """A connection, with all rights unless another user is named."""
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            password=password or self.server.password,
            database=self.name,
            timeout=5,
            statement_cache_size=0,
            server_settings={"application_name": "fault tier"},
        )

    def sessions(self, *, busy: bool = False) -> int:
        which = "AND state <> 'idle'" if busy else ""
        return int(self.query(f"SELECT count(*) FROM pg_stat_activity {self._ours} {which}")[0][0])

    def end_sessions(self, *, busy: bool) -> int:
        which = "<>" if busy else "="
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        return len(self.query(f"{end} {self._ours} AND state {which} 'idle'"))

    def waiting_for_locks(self) -> int:
        """How many of the service's sessions wait for another one."""
        waiting = f"SELECT count(*) FROM pg_stat_activity {self._ours}"
        return int(self.query(f"{waiting} AND wait_event_type = 'Lock'")[0][0])

    @property
    def _ours(self) -> str:
        return f"WHERE datname = '{self.name}' AND usename = '{USER}'"

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        with asyncio.Runner() as runner:
            connection = runner.run(self.connect())
            runner.run(connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
            try:
                yield
            finally:
                runner.run(connection.close())

    @contextmanager
    def saturated(self) -> Iterator[None]:
        """Take all connections of the server but those for administrators."""
        taken: list[Any] = []
        with asyncio.Runner() as runner:
            try:
                for _ in range(3):
                    with suppress(asyncpg.TooManyConnectionsError):
                        while True:
                            taken.append(runner.run(self.connect(OTHER, PASSWORD)))
                    # The service's own become free by that.
                    self.end_sessions(busy=False)
                yield
            finally:
                for connection in taken:
                    with suppress(asyncpg.PostgresError, OSError):
                        runner.run(connection.close(timeout=1))

    def read_only(self, on: bool) -> None:
        """Refuse writes, as a primary that became a standby does."""
        self.set("default_transaction_read_only", "on" if on else "off")

    @contextmanager
    def small_disk(self, table: str) -> Iterator[Callable[[], object]]:
        """Have a table on a disk of 16 MB; the block gets a function that makes it larger."""
        with small_place(self.server.directory) as (place, enlarge):
            (place / "data").mkdir()
            owner = self.server.data.stat()
            os.chown(place / "data", owner.st_uid, owner.st_gid)
            self.query(f"CREATE TABLESPACE small LOCATION '{place}/data'")
            self.query(f"ALTER TABLE {table} SET TABLESPACE small")
            try:
                yield enlarge
            finally:
                self.query(f"ALTER TABLE {table} SET TABLESPACE pg_default")
                self.query("DROP TABLESPACE small")

    def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        """Shut it down; immediate: like a crash."""
        if how == "immediate":
            self.server._process.send_signal(signal.SIGQUIT)
        self.server.stop()

    def start(self) -> None:
        """Start it and return when it answers."""
        self.server.start()

    def freeze(self) -> None:
        """Stop all its processes, as a machine that swaps or a virtual machine that moves does."""
        freeze(self.server._process.pid)

    def thaw(self) -> None:
        """Undo `freeze`."""
        thaw(self.server._process.pid)

    def set(self, name: str, value: str) -> None:
        """Change a setting of the server while it runs."""
        self.query(f"ALTER SYSTEM SET {name} = {value}")
        self.query("SELECT pg_reload_conf()")

    def heal(self) -> None:
        """Undo what was done to the server."""
        if self.server._process is None or self.server._process.poll() is not None:
            self.server._process = None
            self.start()
        self.thaw()
        self.query("ALTER SYSTEM RESET ALL")
        self.query("SELECT pg_reload_conf()")


class MySQL(Database):
    """A MySQL or MariaDB server with databases, and what can befall it."""

    kind = "mysql"

    def __init__(self, server: Any, url: str) -> None:
        super().__init__(url)
        self.server = server

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(self.server.port)

    def url(self, port: int, password: str = PASSWORD) -> str:
        return f"mysql://{USER}:{quote(password, safe='')}@127.0.0.1:{port}/{self.name}"

    def connect(self) -> Any:
        """A connection with all rights."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="tests",
            password=self.server.password,
            database=self.name,
            autocommit=True,
            connect_timeout=5,
        )

    def query(self, statement: str) -> list[Row]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def sessions(self, *, busy: bool = False) -> int:
        if not busy:
            return len(self._sessions())
        transactions = "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx"
        open_ones = {row[0] for row in self.query(transactions)}
        return len([pid for pid, what in self._sessions() if what != "Sleep" or pid in open_ones])

    def end_sessions(self, *, busy: bool) -> int:
        which = [pid for pid, what in self._sessions() if (what != "Sleep") is busy]
        for pid in which:
            with suppress(pymysql.Error):  # It may be gone by now.
                self.query(f"KILL {pid}")
        return len(which)

    def _sessions(self) -> list[Row]:
        found = "SELECT id, command FROM information_schema.processlist"
        return self.query(f"{found} WHERE user = '{USER}' AND db = '{self.name}'")

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLES {table} WRITE")
            yield

    def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        """Shut it down; immediate: like a crash."""
        if how == "immediate":
            self.server._process.kill()
            self.server._process.communicate(b"\n")
            self.server._process = None
        self.server.stop()

    def start(self) -> None:
        """Start it and return when it answers."""
        self.server.start()

    def freeze(self) -> None:
        """Stop its process, as a machine that swaps or a virtual machine that moves does."""
        freeze(self.server._process.pid)

    def thaw(self) -> None:
        """Undo `freeze`."""
        thaw(self.server._process.pid)

    def read_only(self, on: bool) -> None:
        """Refuse writes, as a primary that became a replica does."""
        self.query(f"SET GLOBAL read_only = {'ON' if on else 'OFF'}")

    def heal(self) -> None:
        """Undo what was done to the server."""
        if self.server._process is None or self.server._process.poll() is not None:
            self.server._process = None
            self.start()
        self.thaw()
        self.query("SET GLOBAL read_only = OFF")


class SQLite(Database):
    """A SQLite database, which has no server that could fail."""

    kind = "sqlite"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.path = Path(url.partition("///")[2])

    def url(self, port: int = 0, password: str = "") -> str:
        return f"sqlite:///{self.path}"

    def query(self, statement: str) -> list[Row]:
        with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as connection:
            return connection.execute(statement).fetchall()

    def sessions(self, *, busy: bool = False) -> int:
        return 0

    @contextmanager
    def small_disk(self, table: str) -> Iterator[Callable[[], object]]:
        """Have the database on a disk of 16 MB; the block gets a function that makes it larger."""
        path = self.path
        with small_place(path.parent) as (place, enlarge):
            self._move(place / path.name)
            try:
                yield enlarge
            finally:
                self._move(path)

    def _move(self, path: Path) -> None:
        # Not the file: what was committed last may still be in another one beside it.
        with closing(sqlite3.connect(self.path)) as old, closing(sqlite3.connect(path)) as new:
            old.backup(new)
        self.path = path

    def heal(self) -> None:
        """Nothing befalls it."""


@contextmanager
def small_place(parent: Path) -> Iterator[tuple[Path, Callable[[], object]]]:
    """A directory on a disk of 16 MB, and a function that makes the disk larger."""
    place = parent / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a disk that is full takes the right to mount one")
    larger = ["mount", "-o", "remount,size=256m", str(place)]
    try:
        yield place, partial(subprocess.run, larger, check=True)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def freeze(pid: int) -> None:
    """Stop a process and all that it has started."""
    # The first one last could go on to start others.
    os.kill(pid, signal.SIGSTOP)
    for child in children_of(pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGSTOP)


def thaw(pid: int) -> None:
    """Let a process and all that it has started go on."""
    for child in [*children_of(pid), pid]:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    with suppress(FileNotFoundError):
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextmanager
def postgresql(project: Path, python: Path) -> Iterator["Databases"]:
    """A PostgreSQL server, and databases on it."""
    (module,) = load(project, "server")
    with module.postgres_server() as server:
        yield _postgresql_databases(module, server, project, python)


@contextmanager
def replicated_postgresql(project: Path, python: Path) -> Iterator[tuple["Databases", Any, Any]]:
    """Databases on a primary, that server, and a standby that streams from it."""
    module, standbys = load(project, "server", "replicas.standby")
    with (
        standbys.primary_server() as primary,
        standbys.standby_of(primary, "standby") as standby,
    ):
        databases = _postgresql_databases(module, primary, project, python)
        databases.outlives = False
        yield databases, primary, standby


def _postgresql_databases(module: Any, server: Any, project: Path, python: Path) -> "Databases":
    password = PASSWORD.replace("'", "''")
    for user in (USER, OTHER):
        module.execute(server.url(), f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")

    def give(url: str) -> PostgreSQL:
        name = urlsplit(url).path.removeprefix("/")
        module.execute(server.url(), f'ALTER DATABASE "{name}" OWNER TO {USER}')
        return PostgreSQL(server, url)

    return Databases(module.DatabaseServer(server.url()), give, project, python)


@contextmanager
def mysql(project: Path, python: Path) -> Iterator["Databases"]:
    """A MySQL or MariaDB server, and databases on it."""
    (module,) = load(project, "server")
    with module.mysql_server() as server:
        databases = module.DatabaseServer(server.url())
        # Not named by the rights of a database: a server that takes no writes lets those with all
        # rights write.
        with closing(module.connect(server.url())) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY %s", [PASSWORD])
            cursor.execute(f"GRANT ALL ON `fault%`.* TO {USER}@'127.0.0.1'")
        yield Databases(databases, lambda url: MySQL(server, url), project, python)
        databases._connection.close()


@contextmanager
def sqlite(project: Path, python: Path) -> Iterator["Databases"]:
    """A place for SQLite databases."""
    (module,) = load(project, "server")
    with module.database_server() as databases:
        yield Databases(databases, SQLite, project, python)


class Databases:
    """Databases with the service's schema, each a copy of one that was migrated once."""

    def __init__(self, server: Any, give: Any, project: Path, python: Path) -> None:
        self._server = server
        self._give = give
        self._project = project
        self._python = python
        self.outlives = True
        """Whether the server outlives a scenario, which then leaves nothing on it."""
        self._migrated: str | None = None
        self._number = 0

    @contextmanager
    def empty(self) -> Iterator[Any]:
        """A database without a schema."""
        with self._new(lambda name: self._server.create_database(name)) as database:
            yield database

    @contextmanager
    def migrated(self) -> Iterator[Any]:
        """A database with the schema and no rows."""
        if self._migrated is None:
            self._migrated = self._server.create_database("fault_schema")
            database = self._give(self._migrated)
            port = getattr(database, "port", 0)
            result = migrate(self._python, self._project, database.url(port))
            assert result.returncode == 0, result.stdout
        with self._new(lambda name: self._server.clone_database(self._migrated, name)) as database:
            yield database

    @contextmanager
    def _new(self, make: Any) -> Iterator[Any]:
        self._number += 1
        if (connection := getattr(self._server, "_connection", None)) is not None:
            reconnect(connection)
        url = make(f"fault_{self._number}")
        database = self._give(url)
        try:
            yield database
        finally:
            if self.outlives:
                database.heal()
                if connection is not None:
                    reconnect(connection)
                self._server.drop_database(url)


def reconnect(connection: Any) -> None:
    """Connect again to a MySQL that may have been restarted."""
    connection._force_close()
    connection.connect()


def migrate(
    python: Path, project: Path, url: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the service's migrations to their end."""
    with start_migration(python, project, url, **settings) as process:
        output, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, output)


def start_migration(
    python: Path, project: Path, url: str, **settings: str
) -> subprocess.Popen[str]:
    """Start the service's migrations."""
    ours = {"DATABASE_URL": url, "DATABASE_PGBOUNCER": "false", "PYTHONPATH": str(project)}
    return subprocess.Popen(
        [python, "-m", "app", "migrate"],
        cwd=project,
        env=environment(**{**ours, **settings}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
