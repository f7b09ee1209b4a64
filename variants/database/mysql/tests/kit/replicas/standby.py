"""A real replica of a real MySQL or MariaDB, with fault injection.

Both servers are started here even when `TEST_DATABASE_URL` names another one, which no test may
stop.
"""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import text

from app.kit.replicas.position import Position, parse_gtids
from tests.kit.server import MySQLServer, connect, is_mariadb, mysql_server

PRIMARY_ID = 1

# Whether the server is a standby.
ON_STANDBY = text(f"SELECT @@server_id <> {PRIMARY_ID}")

# GTIDs of a replica and of its primary, and whether the replica has replayed all.
GTIDS_OF_BOTH = [
    # MariaDB: domain-server-number. Numbering continues after a failover.
    ("0-1-9", "0-1-10", False),
    ("0-1-10", "0-1-10", True),
    ("0-2-11", "0-1-10", True),
    ("0-1-10", "0-1-10,5-1-2", False),
    ("0-1-10,5-1-2", "5-1-2", True),
    # MySQL: server:numbers, with gaps for concurrent transactions, and with tags.
    ("a:1-9", "a:1-10", False),
    ("a:1-10", "a:1-10", True),
    ("a:1-8:10-12", "a:1-10", False),
    ("a:1-10:12", "a:1-10", True),
    ("a:1-10", "a:1-10,\nb:1", False),
    ("a:1-11,\nb:1", "a:1-10,\nb:1", True),
    ("a:1-10:tag:1-2", "a:1-10:tag:1-3", False),
    ("a:1-10:tag:1-3", "a:1-10:tag:1-3", True),
    # Without GTIDs nothing is known.
    ("a:1-10", "", False),
    ("", "", False),
]
POSITIONS = [
    (Position(True, parse_gtids(replica)), Position(False, parse_gtids(primary)), has_all)
    for replica, primary, has_all in GTIDS_OF_BOTH
]

# MySQL has GTIDs only with these options, and MariaDB always.
GTIDS = ("--loose-gtid-mode=ON", "--loose-enforce-gtid-consistency=ON")


def primary_server() -> AbstractContextManager[MySQLServer]:
    """Run a new server that others can follow."""
    return mysql_server("--log-bin=binlog", f"--server-id={PRIMARY_ID}", *GTIDS)


class Standby(MySQLServer):
    """A server that follows a primary and lives in its directory."""

    def __init__(self, primary: MySQLServer, directory: Path) -> None:
        super().__init__(directory, primary.program)
        self.start_options = ["--read-only", f"--server-id={self.port}", *GTIDS]
        self.password = primary.password
        self._primary = primary
        self._is_mariadb = is_mariadb(primary.program)

    def follow(self) -> None:
        """Replicate the primary from its first transaction on."""
        self._set_source(
            HOST="'127.0.0.1'",
            PORT=self._primary.port,
            USER="'tests'",
            PASSWORD=f"'{self._primary.password}'",
            CONNECT_RETRY=1,
            **({"USE_GTID": "slave_pos"} if self._is_mariadb else {"AUTO_POSITION": 1}),
        )

    def stop(self) -> None:
        """Shut it down without waiting for its clients."""
        self.thaw()
        super().stop()

    def kill(self) -> None:
        """Kill it, which simulates a power failure."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate(b"\n")
        self._process = None

    def freeze(self) -> None:
        """Stop its process: connections stay open, but it does not respond."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it, if it is frozen."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def promote(self) -> None:
        """Promote it to a primary."""
        self._execute("STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL read_only = 0")

    def pause(self) -> None:
        """Receive changes of the primary without replaying them."""
        self._execute("STOP REPLICA SQL_THREAD")

    def resume(self) -> None:
        """Undo `pause`."""
        self._execute("START REPLICA SQL_THREAD")

    def delay(self, seconds: int) -> None:
        """Delay the replay of changes."""
        self._set_source(DELAY=seconds)

    def heal(self) -> None:
        """Undo all faults except a promotion; return when it responds."""
        self.thaw()
        if self._process is None:
            self.start()
        self.delay(0)

    def _set_source(self, **options: object) -> None:
        # The name has changed in MySQL, but not in MariaDB.
        change, prefix = "REPLICATION SOURCE", "SOURCE"
        if self._is_mariadb:
            change = prefix = "MASTER"
        assignments = [f"{prefix}_{name} = {value}" for name, value in options.items()]
        if "PASSWORD" in options and not self._is_mariadb:
            # The first login sends the password encrypted with the key of the primary.
            assignments.append("GET_SOURCE_PUBLIC_KEY = 1")
        self._execute(
            "STOP REPLICA", f"CHANGE {change} TO {', '.join(assignments)}", "START REPLICA"
        )

    def _execute(self, *statements: str) -> None:
        with connect(self.url()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def standby_of(primary: MySQLServer, name: str) -> Iterator[Standby]:
    """Run a standby of a server."""
    directory = primary.directory / name
    directory.mkdir()
    standby = Standby(primary, directory)
    standby.initialize()
    try:
        standby.start()
        standby.follow()
        yield standby
    finally:
        standby.stop()
