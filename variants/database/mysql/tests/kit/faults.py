"""How to break a MySQL or MariaDB database, for tests of what happens then."""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

# Whether a foreign key can be checked at COMMIT; None: it cannot.
DEFERS: bool | None = None

# Takes longer than any test waits, unless it is interrupted.
SLOW = text("SELECT 1 FROM DUAL WHERE SLEEP(30)")


def unreachable_url(directory: Path) -> str:
    """The URL of a database that cannot be used: nothing listens there."""
    return "mysql+aiomysql://user:secret@127.0.0.1:1/database"


async def lose_connection(session: AsyncSession) -> None:
    """Have the server end the session's connection, and run into that."""
    try:
        await session.execute(text("KILL CONNECTION_ID()"))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
    # MySQL says that the statement was interrupted, and closes the connection after that.
    await session.execute(text("SELECT 1"))
