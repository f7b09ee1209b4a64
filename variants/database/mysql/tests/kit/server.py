"""A real MySQL or MariaDB for the tests, wherever they run: nothing is mocked, nothing skipped.

`database_server()` uses the first of these that is available:

1. the server in `TEST_DATABASE_URL`, if the database named there has "test" in its name. The tests
   leave that database alone and make others beside it, named `<its name>_<name>`, so two runs at
   once need two different ones;
2. the program that `TEST_DATABASE_PROGRAM` names, a `mariadbd` or `mysqld` of any version, started
   with a data directory of its own;
3. the MariaDB or MySQL installed on this machine, likewise;
4. on Debian and its relatives, the distribution's MariaDB, downloaded once (8 MB, no root needed)
   and unpacked into the cache directory of the user, likewise.

A server started here ends with the test run, whatever ends the run, and leaves no files behind.
"""

from __future__ import annotations

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
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import pymysql
import pytest
from pymysql.cursors import Cursor

CONNECT_SECONDS = 10
START_SECONDS = 60  # It takes half a second, but a busy CI machine may need many times that.
STOP_SECONDS = 10

# Where there is no PATH to it: Debian for others than root, Fedora, Homebrew (both places), and
# the packages of mysql.com for macOS.
INSTALLED = (
    "usr/sbin",
    "usr/libexec",
    "opt/homebrew/opt/mariadb*/bin",
    "opt/homebrew/opt/mysql*/bin",
    "usr/local/opt/mariadb*/bin",
    "usr/local/opt/mysql*/bin",
    "usr/local/mysql/bin",
)
PROGRAMS = ("mariadbd", "mysqld")
PACKAGE = "mariadb-server-core"

OPTIONS = [
    "--no-defaults",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--socket=socket",
    "--innodb-buffer-pool-size=64M",
    "--loose-innodb-log-file-size=32M",
    "--loose-innodb-redo-log-capacity=32M",
    "--loose-mysqlx=OFF",
    "--skip-log-bin",
    "--performance-schema=OFF",
    "--max-connections=200",
]
# The data of tests need not survive a power cut.
FAST_OPTIONS = ["--innodb-flush-log-at-trx-commit=0", "--loose-skip-innodb-doublewrite"]

# `sh -c WATCHED directory command...` becomes the command and leaves behind a watcher, which reads
# our end of the pipe. A line releases it. End of file means that the test run is gone, even by
# SIGKILL: then the watcher kills the command and removes the directory, if it has one.
WATCHED = """
exec 3<&0 </dev/null
( (read -r line <&3 || { kill -KILL $$; sleep 1; rm -rf "$0"; }) & )
exec "$@" 3<&-
"""

# What makes up the system tables of MariaDB, in this order; the names begin with mysql or mariadb.
SYSTEM_TABLES = ("system_tables", "performance_tables", "system_tables_data")


class DatabaseServer:
    """Creates, copies and drops databases, and touches none that it did not create.

    It works through one connection to the database at `url`, and `prefix` begins every name.
    """

    def __init__(self, url: str, prefix: str = "") -> None:
        self._url = url
        self._prefix = prefix
        self._created: set[str] = set()
        self._connection = connect(url)
        self._leave = f"USE `{database_name(url)}`"

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URL.

        A database of that name, left behind by an interrupted run, is replaced.
        """
        name = self._prefix + name
        if not re.fullmatch(r"[\w-]{1,64}", name, re.ASCII):
            raise ValueError(f"{name!r} is not a name of 1 to 64 letters, digits, '_' and '-'")
        try:
            self._execute(f"DROP DATABASE IF EXISTS `{name}`")
            self._execute(f"CREATE DATABASE `{name}`")
        except pymysql.OperationalError as error:
            give_up(
                "The user in TEST_DATABASE_URL needs all rights on databases whose names begin "
                f"with {self._prefix} ({error})."
            )
        url = urlsplit(self._url)._replace(path=f"/{name}").geturl()
        self._created.add(url)
        return url

    def clone_database(self, url: str, name: str) -> str:
        """Copy a database: its tables, rows and triggers; return the SQLAlchemy URL of the copy."""
        source = database_name(url)
        copy = self.create_database(name)
        self._execute(f"USE `{source}`")
        # References between tables may be circular.
        statements = [f"USE `{database_name(copy)}`", "SET foreign_key_checks = 0"]
        for table, _ in self._execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'"):
            ((_, create),) = self._execute(f"SHOW CREATE TABLE `{table}`")
            statements += [create, f"INSERT INTO `{table}` SELECT * FROM `{source}`.`{table}`"]
        for trigger, *_ in self._execute("SHOW TRIGGERS"):
            ((_, _, create, *_),) = self._execute(f"SHOW CREATE TRIGGER `{trigger}`")
            statements.append(create)
        for statement in [*statements, "SET foreign_key_checks = 1", self._leave]:
            self._execute(statement)
        return copy

    def drop_database(self, url: str) -> None:
        """Drop a database that was created here, and disconnect its clients."""
        name = database_name(url)
        if url not in self._created:
            raise ValueError(f"{name!r} was not created here, so it is not dropped")
        # A statement of a disconnected client holds its locks until it ends.
        users = "SELECT id FROM information_schema.processlist WHERE db = %s"
        for (user,) in self._execute(users, name):
            with suppress(pymysql.OperationalError):  # It may be gone by now.
                self._execute(f"KILL {user}")
        self._execute(f"DROP DATABASE IF EXISTS `{name}`")
        self._created.remove(url)

    def drop_all(self) -> None:
        """Drop every database that was created here, and close the connection."""
        for url in sorted(self._created):
            self.drop_database(url)
        self._connection.close()

    def _execute(self, statement: str, *parameters: Any) -> tuple[tuple[Any, ...], ...]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return tuple(cursor.fetchall())


class MySQLServer:
    """A server with all its files in `directory`, reachable on 127.0.0.1 only.

    Its data survive neither a power cut nor the death of the test run, unless they are `kept`.
    """

    def __init__(self, directory: Path, program: Path, kept: bool = False) -> None:
        self.directory = directory
        self.kept = kept
        self.data = directory / "data"
        self.log = directory / "log"
        self.program = program
        self.start_options: list[str] = []
        self.port = free_port()
        # With no password every user of the machine could work as us. Replicas take 32 characters.
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "mysql") -> str:
        """Return the SQLAlchemy URL of a database, for a user who may do everything."""
        return f"mysql+aiomysql://tests:{self.password}@127.0.0.1:{self.port}/{database}"

    @cached_property
    def options(self) -> list[str]:
        """What each start of the program needs."""
        options = OPTIONS if self.kept else OPTIONS + FAST_OPTIONS
        options = [*options, f"--basedir={self.program.parents[1]}", f"--datadir={self.data}"]
        # A starting server deletes the temporary tables of all others in its folder.
        options += [f"--secure-file-priv={self.directory}", f"--tmpdir={self.directory}"]
        # As root they need this option. (Only this user can connect, and only locally.)
        return [*options, "--user=root"] if os.geteuid() == 0 else options

    def initialize(self) -> None:
        """Create the data directory."""
        self.data.mkdir()
        if is_mariadb(self.program):
            tables = ["CREATE DATABASE IF NOT EXISTS mysql;", "USE mysql;"]
            tables += [path.read_text(errors="replace") for path in self._system_tables()]
            process = self._spawn("--bootstrap", input="\n".join(tables))
        else:
            process = self._spawn("--initialize-insecure")
        if process.returncode != 0:
            give_up("\n".join([f"{self.program} cannot make a data directory:", *self._log_tail()]))
        (self.directory / "init.sql").write_text(
            f"CREATE USER IF NOT EXISTS tests@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO tests@'127.0.0.1' WITH GRANT OPTION;\n"
            "ALTER USER root@localhost ACCOUNT LOCK;\n"
        )

    def _system_tables(self) -> Iterator[Path]:
        for name in SYSTEM_TABLES:
            found = sorted(self.program.parents[1].glob(f"share/*/m*_{name}.sql"))
            if not found:
                give_up(f"{self.program} comes without its m*_{name}.sql below share.")
            yield found[0]

    def start(self) -> None:
        """Start the server and return when it responds."""
        for _ in range(5):
            arguments = [f"--port={self.port}", f"--init-file={self.directory}/init.sql"]
            self._process = self._start(*arguments, *self.start_options)
            deadline = time.monotonic() + START_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                if answers(self.url()):
                    return
                time.sleep(0.02)
            self.stop()
            if "Address already in use" not in self.log.read_text(errors="replace"):
                break
            self.port = free_port()  # Another process took the port in the meantime.
        give_up("\n".join([f"{self.program} did not start:", *self._log_tail()]))

    def stop(self) -> None:
        """Stop the server, if it runs, without waiting for its clients."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(b"\n", timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _spawn(self, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
        with self.log.open("wb") as log:
            return subprocess.run(
                [self.program, *self.options, *arguments],
                input=input,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                text=True,
            )

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        removed = "" if self.kept else str(self.directory)
        command = [removed, str(self.program), *self.options, *arguments]
        with self.log.open("wb") as log:
            return subprocess.Popen[bytes](
                ["sh", "-c", WATCHED, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,  # Ctrl-C is meant for pytest, which then stops the server.
            )

    def _log_tail(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()[-20:]


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
        with mysql_server() as mysql:
            server = DatabaseServer(mysql.url())
            yield server
            server.drop_all()


@contextmanager
def mysql_server(*options: str) -> Iterator[MySQLServer]:
    """Run a new server in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="mysql-", dir=temporary_root()) as directory:
        mysql = MySQLServer(Path(directory), find_program())
        mysql.start_options += options
        mysql.initialize()
        try:
            mysql.start()
            yield mysql
        finally:
            mysql.stop()


@contextmanager
def development_server(directory: Path) -> Iterator[tuple[str, Path]]:
    """Run a server that keeps its data in `directory`, or use the one that runs on them already.

    It yields the SQLAlchemy URL of a database `app`, and the program that serves it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mysql = MySQLServer(directory, find_program(), kept=True)
    # Written last: without it, the initialization was interrupted.
    made = directory / "port"
    if made.exists():
        mysql.port = int(made.read_text())
        mysql.password = (directory / "password").read_text()
        if answers(mysql.url("app")):
            yield mysql.url("app"), mysql.program
            return
    else:
        shutil.rmtree(mysql.data, ignore_errors=True)
        mysql.initialize()
        (directory / "password").write_text(mysql.password)
    try:
        mysql.start()
        if not made.exists():
            with connect(mysql.url()) as connection, connection.cursor() as cursor:
                cursor.execute("CREATE DATABASE app")
        made.write_text(str(mysql.port))
        yield mysql.url("app"), mysql.program
    finally:
        mysql.stop()


def existing_server(url: str) -> DatabaseServer:
    """Check `TEST_DATABASE_URL` and connect to it. No message shows the password in it."""
    url = re.sub(r"\A(mysql|mariadb)(\+aiomysql)?://", "mysql+aiomysql://", url)
    example = "mysql://user:password@host:3306/app_test"
    match = re.fullmatch(r"mysql\+aiomysql://[^/?#]*/([\w-]+)(\?.*)?", url, re.ASCII)
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
    except (OSError, ValueError, RuntimeError, pymysql.Error) as error:
        # A ValueError quotes what it could not parse.
        reason = "it cannot be parsed" if isinstance(error, ValueError) else str(error)
        give_up(f"TEST_DATABASE_URL cannot be used: {type(error).__name__}: {reason}.")


def give_up(message: str) -> NoReturn:
    """End the test run: without a database no test of it can pass, and none may be skipped."""
    if "PYTEST_VERSION" not in os.environ:
        sys.exit(message)  # It is no test run.
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail(message, pytrace=False)  # pytest-xdist would take an exit for a crash.
    pytest.exit(message, returncode=pytest.ExitCode.USAGE_ERROR)


def find_program() -> Path:
    """Return the server program to run: the requested, installed or cached one."""
    if asked_for := os.environ.get("TEST_DATABASE_PROGRAM"):
        if can_run(Path(asked_for)):
            return Path(asked_for).absolute()
        give_up(f"TEST_DATABASE_PROGRAM: {asked_for} cannot be run.")
    if sys.platform != "win32":  # WATCHED needs a POSIX shell.
        for program in [*installed_programs(), *unpacked_program()]:
            if can_run(program):
                return program
    give_up(
        "No MariaDB or MySQL was found. Install one (on Debian and Ubuntu: "
        f"sudo apt-get install {PACKAGE}; on macOS: brew install mariadb), "
        "or set TEST_DATABASE_URL to one like mysql://user:password@host:3306/app_test."
    )


def installed_programs() -> Iterator[Path]:
    """The programs on this machine, the best ones first."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            yield Path(found)
    for pattern in INSTALLED:
        for name in PROGRAMS:
            yield from sorted(Path("/").glob(f"{pattern}/{name}"), reverse=True)


def unpacked_program() -> Iterator[Path]:
    """The program in the cache, which is filled if this system has Debian's tools for packages."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mariadb-for-tests"
    program = cache / "usr/sbin/mariadbd"
    if not program.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{cache.name}-", dir=cache.parent) as directory:
            if unpack(Path(directory)):
                # Another process may have been faster.
                with suppress(OSError):
                    (Path(directory) / "root").rename(cache)
    if program.exists():
        # The libraries that came with it.
        places = {str(path.parent) for path in cache.glob("**/lib*.so*")}
        inherited = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join([*filter(None, inherited), *sorted(places)])
        yield program


def unpack(directory: Path) -> bool:
    """Download the package, and the libraries that it lacks here, and unpack all to `root`."""
    # Lists of packages of our own: those of the system may be missing or old, and are root's.
    state = ["-o", f"Dir::State::Lists={directory}/lists", "-o", f"Dir::Cache={directory}/cache"]
    (directory / "lists/partial").mkdir(parents=True)
    (directory / "cache/archives/partial").mkdir(parents=True)
    options = ["-qq", "-o", "APT::Sandbox::User="]

    def run(*command: str) -> str | None:
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        return result.stdout if result.returncode == 0 else None

    if run("apt-get", *options, "download", PACKAGE) is None:
        options += state
        run("apt-get", *options, "update")
        if run("apt-get", *options, "download", PACKAGE) is None:
            return False
    needed = re.findall(
        r"Depends: (lib[\w.+-]+)", run("apt-cache", *options[1:], "depends", PACKAGE) or ""
    )
    missing = [name for name in needed if run("dpkg", "--status", name) is None]
    if missing and run("apt-get", *options, "download", *missing) is None:
        return False
    return all(
        run("dpkg", "--extract", str(package), f"{directory}/root") is not None
        for package in directory.glob("*.deb")
    )


def can_run(program: Path) -> bool:
    """Tell whether a program can be run here."""
    with suppress(OSError):
        return not subprocess.run([program, "--version"], capture_output=True).returncode
    return False


def is_mariadb(program: Path) -> bool:
    """Tell MariaDB from MySQL, which either may call mysqld."""
    return b"MariaDB" in subprocess.run([program, "--version"], capture_output=True).stdout


def temporary_root() -> str | None:
    """Return the directory for temporary files, or None for the default one."""
    if sys.platform == "linux" and os.access("/dev/shm", os.W_OK):
        # A new server is 150 MB of files, which a slow disk makes ten times as slowly as memory.
        memory = os.statvfs("/dev/shm")
        if memory.f_bavail * memory.f_frsize > 2**30:
            return "/dev/shm"
    return None


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


def connect(url: str) -> pymysql.Connection[Cursor]:
    """Connect to the database of a URL."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database_name(url),
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
    )


def answers(url: str) -> bool:
    """Tell whether a database can be used."""
    with suppress(OSError, pymysql.Error):
        connect(url).close()
        return True
    return False
