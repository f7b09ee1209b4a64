"""The database of development: a server of its own, started here."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.kit.server import development_server

ROOT = Path(__file__).parents[3]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the database is."""
    parser.add_argument("--data", type=Path, default=ROOT / ".dev", help="data folder (.dev)")


@contextmanager
def development_database(arguments: argparse.Namespace) -> Iterator[str]:
    """Run the database while the block does; give its URL."""
    with server(arguments.data.absolute()) as url:
        yield url


def print_database(database: str) -> None:
    """Print which database is used."""
    print(f"Database: {database}", file=sys.stderr, flush=True)


@contextmanager
def server(data: Path) -> Iterator[str]:
    """Run a database server with its data below a folder; yield the URL of the database."""
    with development_server(data / "database") as (url, program):
        print_database(f"{program}, data in {os.path.relpath(data)}")
        yield url
