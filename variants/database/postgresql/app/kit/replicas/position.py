"""What the service knows about PostgreSQL's streaming replication."""

from typing import NamedTuple, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# https://www.postgresql.org/docs/current/functions-admin.html: the bytes of WAL that a primary has
# written, of which it sends no more than is flushed, or that a standby has replayed.
POSITION = text("""
    SELECT
        pg_is_in_recovery(),
        CASE
            WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0')
            ELSE pg_current_wal_flush_lsn()
        END - '0/0'
""")


class Position(NamedTuple):
    """How far a server is."""

    is_standby: bool
    """Whether it follows another server."""
    number: int
    """Grows with each change, and is the same on all servers that have made it."""

    def has_replayed(self, other: Self) -> bool:
        """Whether whatever had happened there has happened here."""
        return self.number >= other.number


async def get_position(connection: AsyncConnection) -> Position:
    """How far the server of a connection is."""
    is_standby, number = (await connection.execute(POSITION)).one()
    return Position(is_standby, int(number))
