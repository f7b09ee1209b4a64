"""What the tests of files around a service need: the service installed, a shell, a database."""

import os
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
SECONDS = 300

START_SERVER = """
import sys
from tests.server import database_server

with database_server() as server:
    print(server.create_database("app_test"), flush=True)
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


@contextmanager
def database(project: Path) -> Iterator[SplitResult]:
    """Run the server of the project's own tests, and give the URL of a database `app_test`."""
    with subprocess.Popen(
        [project / ".venv/bin/python", "-c", START_SERVER],
        cwd=project,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield urlsplit(process.stdout.readline().strip())
