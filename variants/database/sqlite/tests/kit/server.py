"""SQLite databases for the tests: each is a file in a temporary directory.

The interface is the one that every database driver's tests have, so that fixtures do not
depend on the driver.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

URL_PREFIX = "sqlite+aiosqlite:///"


class DatabaseServer:
    """Creates, copies and drops databases in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create_database(self, name: str) -> str:
        """Create an empty database and return its SQLAlchemy URL."""
        path = self._directory / f"{name}.db"
        path.touch(exist_ok=False)
        return f"{URL_PREFIX}{path}"

    def clone_database(self, url: str, name: str) -> str:
        """Copy a database and return the SQLAlchemy URL of the copy."""
        copy = self.create_database(name)
        # Not a copy of the file: the last commits may still be in the -wal file.
        with closing(sqlite3.connect(url.removeprefix(URL_PREFIX))) as connection:
            connection.execute("VACUUM INTO ?", [copy.removeprefix(URL_PREFIX)])
        return copy

    def drop_database(self, url: str) -> None:
        """Delete a database, which must have no connections."""
        path = url.removeprefix(URL_PREFIX)
        for suffix in ("", "-wal", "-shm"):
            Path(path + suffix).unlink(missing_ok=True)


@contextmanager
def database_server() -> Iterator[DatabaseServer]:
    """Provide a folder for the databases of a test run, which is deleted at its end."""
    with tempfile.TemporaryDirectory(prefix="sqlite-") as directory:
        yield DatabaseServer(Path(directory))
