"""How to break a SQLite database, for tests of what happens then."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Whether a foreign key can be checked at COMMIT.
DEFERS: bool | None = True

# Takes longer than any test waits, unless it is interrupted.
SLOW = text(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000000) "
    "SELECT count(*) FROM n"
)


def unreachable_url(directory: Path) -> str:
    """The URL of a database that cannot be used: its file holds something else."""
    path = directory / "broken.db"
    path.write_text("This is not a database. " * 100)
    return f"sqlite+aiosqlite:///{path}"


async def lose_connection(session: AsyncSession) -> None:
    """Close the session's connection under it, and run into that."""
    raw = await (await session.connection()).get_raw_connection()
    assert raw.driver_connection is not None
    await raw.driver_connection.close()
    await session.execute(text("SELECT 1"))
