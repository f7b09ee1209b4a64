"""A real PgBouncer in transaction mode, in front of the server of the tests.

It is the one installed on this machine. Otherwise, on Debian and its derivatives, the package is
unpacked into a cache, without installation.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from tests.kit.server import (
    START_SECONDS,
    WATCHED,
    execute,
    free_port,
    give_up,
    server_user,
    temporary_root,
)

INSTALLED = ("/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer")

SETTINGS = """
[databases]
* = host={host} port={port}

[pgbouncer]
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/logins
"""

# The first version that supports prepared statements.
TRACKS_STATEMENTS = (1, 21)


@contextmanager
def pgbouncer(url: str, connections: int, prepared: int = 0) -> Iterator[str]:
    """Run a PgBouncer with `connections` server connections for each database, and with support of
    `prepared` prepared statements for each client, if its version has that.

    Yields the SQLAlchemy URL of the same database through it.
    """
    server = urlsplit(url)
    user, password = (unquote(part or "") for part in (server.username, server.password))
    with tempfile.TemporaryDirectory(prefix="pgbouncer-", dir=temporary_root()) as name:
        directory = Path(name)
        program, libraries = find_program(directory)
        port = free_port()
        settings = SETTINGS
        if version_of(program, libraries) >= TRACKS_STATEMENTS:
            settings += f"max_prepared_statements = {prepared}\n"
        (directory / "logins").write_text('"{}" "{}"\n'.format(*(quoted(user), quoted(password))))
        (directory / "settings").write_text(
            settings.format(
                host=server.hostname,
                port=server.port or 5432,
                connections=connections,
                listen_port=port,
                directory=directory,
            )
        )
        if owner := server_user():  # PgBouncer refuses to be root, too.
            for path in [directory, *directory.rglob("*")]:
                shutil.chown(path, owner["user"], owner["group"])
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen[bytes](
                ["sh", "-c", WATCHED, name, str(program), str(directory / "settings")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=os.environ | libraries,
                start_new_session=True,
                **owner,
            )
        bounced = server._replace(netloc=f"{server.netloc.rpartition('@')[0]}@127.0.0.1:{port}")
        try:
            wait_for(process, bounced.geturl(), directory / "log")
            yield bounced.geturl()
        finally:
            process.terminate()
            process.communicate(b"\n")


def version_of(program: Path, libraries: dict[str, str]) -> tuple[int, ...]:
    """The version of a PgBouncer."""
    printed = subprocess.check_output([program, "--version"], env=os.environ | libraries, text=True)
    return tuple(map(int, printed.split()[1].split(".")))


def quoted(text: str) -> str:
    """Quote a text for PgBouncer's userlist.txt."""
    return text.replace('"', '""')


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until a PgBouncer responds."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            execute(url)
            return
        time.sleep(0.02)
    give_up(f"PgBouncer did not start:\n{log.read_text(errors='replace')}")


def find_program(directory: Path) -> tuple[Path, dict[str, str]]:
    """The PgBouncer to run, and the environment in which it finds its libraries.

    If it has to be unpacked, it is copied into the directory, where the server's user can read it.
    """
    if program := shutil.which("pgbouncer"):
        return Path(program), {}
    for place in INSTALLED:
        if os.access(place, os.X_OK):
            return Path(place), {}
    root = directory / "root"
    shutil.copytree(unpacked(), root)
    libraries = os.pathsep.join(map(str, root.glob("usr/lib/*-linux-gnu*")))
    return root / "usr/sbin/pgbouncer", {"LD_LIBRARY_PATH": libraries}


def unpacked() -> Path:
    """The cache with Debian's package of PgBouncer and the libraries that it needs."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pgbouncer-for-tests"
    )
    if (cache / "usr/sbin/pgbouncer").exists():
        return cache
    if shutil.which("apt-get") and shutil.which("dpkg"):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent) as name:
            if unpack(Path(name)):
                with suppress(OSError):  # Another process was faster.
                    (Path(name) / "root").rename(cache)
    if not (cache / "usr/sbin/pgbouncer").exists():
        give_up(
            "PgBouncer was not found, and cannot be downloaded. Install it: "
            "`apt-get update && apt-get install pgbouncer`, or `brew install pgbouncer`."
        )
    return cache


def unpack(directory: Path) -> bool:
    """Download the package and its libraries, and unpack all to `root`."""
    # Lists of packages of our own: those of the system may be missing or old, and are root's.
    state = ["-o", f"Dir::State::Lists={directory}/lists", "-o", f"Dir::Cache={directory}/cache"]
    (directory / "lists/partial").mkdir(parents=True)
    (directory / "cache/archives/partial").mkdir(parents=True)
    options = ["-qq", "-o", "APT::Sandbox::User="]

    def run(*command: str) -> str | None:
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        return result.stdout if result.returncode == 0 else None

    if run("apt-get", *options, "download", "pgbouncer") is None:
        options += state
        run("apt-get", *options, "update")
        if run("apt-get", *options, "download", "pgbouncer") is None:
            return False
    depends = run("apt-cache", *options[1:], "depends", "pgbouncer") or ""
    words = (line.split() for line in depends.splitlines())
    libraries = {line[1] for line in words if line[:1] == ["Depends:"] and len(line) == 2}
    wanted = sorted(n for n in libraries if n.startswith("lib") and n != "libc6")
    if run("apt-get", *options, "download", *wanted) is None:
        return False
    return all(
        run("dpkg", "--extract", str(package), f"{directory}/root") is not None
        for package in directory.glob("*.deb")
    )
