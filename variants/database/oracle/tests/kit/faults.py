"""How to break an Oracle database, for tests of what happens then."""

from pathlib import Path

# Whether a foreign key can be checked at COMMIT.
DEFERS: bool | None = True


def unreachable_url(directory: Path) -> str:
    """The URL of a database that cannot be used: nothing listens there."""
    return "oracle+oracledb_async://user:secret@127.0.0.1:1?service_name=service"
