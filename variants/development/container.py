"""The database of development: in a container where Docker works, otherwise a server of its own."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from app.kit.answers import DEFAULT_URL, DRIVER
from tests.kit.server import development_server

ROOT = Path(__file__).parents[3]
COMPOSE = ["docker", "compose", "--file=compose.yaml", "--file=compose.dev.yaml"]
# The database that uses it is reachable only from this machine.
PASSWORD = "development"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the database is."""
    parser.add_argument("--local", action="store_true", help="no container, even if Docker works")
    parser.add_argument("--data", type=Path, default=ROOT / ".dev", help="data folder (.dev)")


@contextmanager
def development_database(arguments: argparse.Namespace) -> Iterator[str]:
    """Run the database while the block does; give its URL."""
    in_container = not arguments.local and compose_works()
    with container() if in_container else server(arguments.data.absolute()) as url:
        yield url


def print_database(database: str) -> None:
    """Print which database is used."""
    print(f"Database: {database}", file=sys.stderr, flush=True)


def compose_works() -> bool:
    """Whether Docker Compose is installed and can reach its engine."""
    if shutil.which("docker") is None:
        return False
    command = ["docker", "compose", "ls", "--quiet"]
    return not subprocess.run(command, capture_output=True).returncode


@contextmanager
def container() -> Iterator[str]:
    """Run the database of compose.yaml as a separate project; yield its URL."""
    project = re.sub("[^a-z0-9]+", "-", f"dev-{ROOT.resolve().name.lower()}")

    def compose(*arguments: str) -> str:
        return subprocess.run(
            [*COMPOSE, f"--project-name={project}", *arguments],
            cwd=ROOT,
            env=os.environ | {"{{ driver.password_variable }}": PASSWORD},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()

    print_database(f"in a container, data in the volume {project}_database")
    try:
        runs = compose("ps", "--quiet", "--status=running", "database")
        compose("up", "--detach", "--wait", "database")
        address = compose("port", "database", str(make_url(DEFAULT_URL).port))
    except subprocess.CalledProcessError:
        sys.exit("Docker did not start the database. Without it: uv run dev.py --local")
    try:
        yield f"{DRIVER}://app:{PASSWORD}@{address}/app"
    finally:
        if not runs:
            compose("stop", "database")


@contextmanager
def server(data: Path) -> Iterator[str]:
    """Run a database server with its data below a folder; yield the URL of the database."""
    with development_server(data / "database") as (url, program):
        print_database(f"{program}, data in {os.path.relpath(data)}")
        yield url
