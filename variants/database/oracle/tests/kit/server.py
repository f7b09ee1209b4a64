"""No server: the tests of this service need none, and cannot have one.

docs/database.md describes how to get one, and what to implement here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

import pytest


class DatabaseServer(Protocol):
    """Creates, copies and drops databases: in Oracle's words, users with their schemas."""

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        ...

    def clone_database(self, url: str, name: str) -> str:
        """Copy a database and return the SQLAlchemy URL of the copy."""
        ...

    def drop_database(self, url: str) -> None:
        """Drop a database that was created here."""
        ...


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """Fail: a test that uses `client` or another fixture with a database has none to use."""
    give_up()
    yield


def give_up() -> NoReturn:
    """Fail with one line that says why."""
    pytest.fail(
        "This test needs an Oracle server, and tests/kit/server.py knows none. "
        "How to get one is in docs/database.md.",
        pytrace=False,
    )
