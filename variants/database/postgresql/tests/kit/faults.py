"""How to break a PostgreSQL database, for tests of what happens then."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# Whether a foreign key can be checked at COMMIT.
DEFERS: bool | None = True

# Takes longer than any test waits, unless it is cancelled.
SLOW = text("SELECT pg_sleep(30)")


def unreachable_url(directory: Path) -> str:
    """The URL of a database that cannot be used: nothing listens there."""
    return "postgresql+asyncpg://user:secret@127.0.0.1:1/database"


async def lose_connection(session: AsyncSession) -> None:
    """Have the server end the session's connection, and run into that."""
    await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
