"""Positions in the GTID-based replication of MySQL and MariaDB."""

from typing import NamedTuple, Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The GTIDs that a server has replicated, and those that it offers to its replicas. Comments as in
# app/kit/db/engine.py: /*M! */ is for MariaDB, /*!80000 */ for MySQL. Needs no privileges.
# https://mariadb.com/kb/en/gtid/
# https://dev.mysql.com/doc/refman/8.4/en/replication-options-gtids.html
POSITION = text("""
    SELECT
        CAST(@@read_only AS CHAR),
        /*M! @@gtid_slave_pos, @@gtid_binlog_pos */
        /*!80000 @@gtid_executed, IF(@@gtid_mode LIKE 'ON%', @@gtid_executed, '') */
""")


class Position(NamedTuple):
    """A position in the replication."""

    is_standby: bool
    """Whether the server is a replica: it is read-only until it is promoted."""
    transactions: dict[str, list[range]]
    """The transaction numbers by origin; empty if the server does not use GTIDs."""

    def has_replayed(self, other: Self) -> bool:
        """Whether all transactions of `other` are included; False if unknown."""
        return bool(other.transactions) and all(
            any(row.start <= wanted.start and wanted.stop <= row.stop for row in self._of(origin))
            for origin, rows in other.transactions.items()
            for wanted in rows
        )

    def _of(self, origin: str) -> list[range]:
        return self.transactions.get(origin, [])


async def get_position(connection: AsyncConnection) -> Position:
    """The position of the server of a connection."""
    read_only, made, offered = (await connection.execute(POSITION)).one()
    is_standby = read_only in ("1", "ON")
    return Position(is_standby, parse_gtids(made if is_standby else offered))


def parse_gtids(gtids: str) -> dict[str, list[range]]:
    """Parse the server's text form of GTIDs: transaction numbers by origin."""
    transactions: dict[str, list[range]] = {}
    for part in filter(None, map(str.strip, gtids.split(","))):
        if ":" not in part:
            # MariaDB: domain-server-number, the last one of the domain.
            domain, _, number = part.split("-")
            transactions[domain] = [range(1, int(number) + 1)]
            continue
        # MySQL: server:first-last:…, optionally with tags.
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
