"""Positions in PostgreSQL's streaming replication."""

from typing import NamedTuple, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# https://www.postgresql.org/docs/current/functions-admin.html: the WAL position that a primary has
# flushed, because it sends no more than that, or that a standby has replayed.
POSITION = text("""
    SELECT
        pg_is_in_recovery(),
        CASE
            WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0')
            ELSE pg_current_wal_flush_lsn()
        END - '0/0'
""")


class Position(NamedTuple):
    """A position in the replication."""

    is_standby: bool
    """Whether the server is a standby."""
    number: int
    """The WAL position in bytes; the same change has the same position on all servers."""

    def has_replayed(self, other: Self) -> bool:
        """Whether all changes up to `other` are included."""
        return self.number >= other.number


async def get_position(connection: AsyncConnection) -> Position:
    """The position of the server of a connection."""
    is_standby, number = (await connection.execute(POSITION)).one()
    return Position(is_standby, int(number))
