"""What the tests of files around a service need: the service installed, a shell, a database."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import uv

# A tool from the dev dependencies.
BIN = Path(sys.executable).parent
# What would lead a command to our own project, environment or databases.
OUR_OWN = ("DATABASE_", "PG", "PYTEST_", "PYTHON", "TEST_DATABASE_", "UV_PROJECT_", "VIRTUAL_ENV")
# Ends commands that hang. A busy machine takes minutes for the tests of a service.
SECONDS = 900
# Of the databases in compose files, for those who run these.
PASSWORDS = ("POSTGRES_PASSWORD", "MYSQL_PASSWORD", "ORACLE_PASSWORD")

START_SERVER = """
import sys
from tests.kit.server import database_server

with database_server() as server:
    for name in sys.argv[1:]:
        print(server.create_database(name), flush=True)
    sys.stdin.read()
"""


def environment(**ours: str) -> dict[str, str]:
    """The process environment without what is ours, with `uv` on the path."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(OUR_OWN)}
    path = os.pathsep.join([str(Path(uv.find_uv_bin()).parent), os.environ["PATH"]])
    return theirs | {"PATH": path, "UV_PYTHON_DOWNLOADS": "never"} | ours


def tool(name: str, *arguments: str | Path) -> None:
    """Run a checker of the dev dependencies; fail with what it found."""
    command = [str(BIN / name), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == 0, f"{name}:\n{result.stdout}{result.stderr}"


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command as CI systems and image builders do; fail with what it printed."""
    result = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, f"{command} failed:\n{result.stdout}"


def run_uv(project: Path, *arguments: str, **ours: str) -> str:
    """Run uv in a project, as its owner would, and return what it prints; fail with that."""
    # Opt-in: a MySQL of any version, in place of the MariaDB that is found or downloaded.
    server = {"TEST_DATABASE_PROGRAM": os.environ["MYSQLD"]} if "MYSQLD" in os.environ else {}
    with subprocess.Popen(
        [uv.find_uv_bin(), *arguments],
        cwd=project,
        env=environment(**server, **ours),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            # Not only uv, which would leave behind what it runs.
            os.killpg(process.pid, signal.SIGKILL)
            output = f"{process.communicate()[0]}\nIt took longer than {SECONDS} s."
    assert process.returncode == 0, f"uv {' '.join(arguments)} failed:\n{output}"
    return output


@contextmanager
def database(project: Path) -> Iterator[SplitResult]:
    """Run the server of the project's own tests, and give the URL of a database `app_test`."""
    with databases(project, "app_test") as (url,):
        yield urlsplit(url)


@contextmanager
def databases(project: Path, *names: str) -> Iterator[list[str]]:
    """Run the server of the project's own tests, and give the URLs of empty databases."""
    with subprocess.Popen(
        [project / ".venv/bin/python", "-c", START_SERVER, *names],
        cwd=project,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield [process.stdout.readline().strip() for _ in names]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
