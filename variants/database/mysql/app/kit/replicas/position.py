"""What the service knows about the replication of MySQL and MariaDB: that by GTIDs."""

from typing import NamedTuple, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# What a server has made as a replica, and what it has for replicas of its own. Comments as in
# app/kit/db/engine.py: /*M! */ is for MariaDB, /*!80000 */ for MySQL. All of it anybody may read.
# https://mariadb.com/kb/en/gtid/
# https://dev.mysql.com/doc/refman/8.4/en/replication-options-gtids.html
POSITION = text("""
    SELECT
        CAST(@@read_only AS CHAR),
        /*M! @@gtid_slave_pos, @@gtid_binlog_pos */
        /*!80000 @@gtid_executed, IF(@@gtid_mode LIKE 'ON%', @@gtid_executed, '') */
""")


class Position(NamedTuple):
    """How far a server is."""

    is_standby: bool
    """Whether it follows another server: then it is read-only, until it is promoted."""
    transactions: dict[str, list[range]]
    """The numbers of the transactions that it has made, by where they come from. None at all: its
    transactions have no GTIDs."""

    def has_replayed(self, other: Self) -> bool:
        """Whether whatever had happened there has happened here; False if that is not known."""
        return bool(other.transactions) and all(
            any(row.start <= wanted.start and wanted.stop <= row.stop for row in self._of(origin))
            for origin, rows in other.transactions.items()
            for wanted in rows
        )

    def _of(self, origin: str) -> list[range]:
        return self.transactions.get(origin, [])


async def get_position(connection: AsyncConnection) -> Position:
    """How far the server of a connection is."""
    read_only, made, offered = (await connection.execute(POSITION)).one()
    is_standby = read_only in ("1", "ON")
    return Position(is_standby, parse_gtids(made if is_standby else offered))


def parse_gtids(gtids: str) -> dict[str, list[range]]:
    """The numbers of transactions by where they come from, of GTIDs as the server writes them."""
    transactions: dict[str, list[range]] = {}
    for part in filter(None, map(str.strip, gtids.split(","))):
        if ":" not in part:
            # MariaDB's domain-server-number, the last one of the domain.
            domain, _, number = part.split("-")
            transactions[domain] = [range(1, int(number) + 1)]
            continue
        # MySQL's server:first-last:…, some of them behind a tag.
        server, *words = part.split(":")
        origin = server
        for word in words:
            if word[0].isdigit():
                first, _, last = word.partition("-")
                numbers = range(int(first), int(last or first) + 1)
                transactions.setdefault(origin, []).append(numbers)
            else:
                origin = f"{server}:{word}"
    return transactions
