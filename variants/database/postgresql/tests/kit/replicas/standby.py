"""A real standby of a real PostgreSQL, with fault injection.

Both servers are started here even when `TEST_DATABASE_URL` names another one, which no test may
stop.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import text

from app.kit.replicas.position import Position
from tests.kit.server import PostgresServer, execute, give_up, postgres_server, server_user

__all__ = ["ON_STANDBY", "POSITIONS", "Standby", "primary_server", "standby_of"]

# Whether the server is a standby.
ON_STANDBY = text("SELECT pg_is_in_recovery()")

# Positions of a replica and of its primary, and whether the replica has replayed all.
POSITIONS = [
    (Position(True, 9), Position(False, 10), False),
    (Position(True, 10), Position(False, 10), True),
    (Position(True, 11), Position(False, 10), True),
]

primary_server = postgres_server


class Standby(PostgresServer):
    """A server that streams from a primary and lives in its directory."""

    def __init__(self, primary: PostgresServer, name: str) -> None:
        super().__init__(primary.directory / name, primary.binaries)
        self.password = primary.password
        self._primary = primary
        self._frozen: list[int] = []

    def initialize(self) -> None:
        """Copy the primary."""
        self.directory.mkdir()
        if user := server_user():
            shutil.chown(self.directory, user["user"], user["group"])
        source = self._primary.url().replace("+asyncpg", "")
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", f"--dbname={source}"]
        process = self._spawn("pg_basebackup", *options, f"--pgdata={self.data}")
        process.wait()
        process.communicate(b"\n")
        if process.returncode != 0:
            give_up(f"pg_basebackup failed:\n{self.log.read_text(errors='replace')}")

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
        """Stop all its processes: connections stay open, but it does not respond."""
        assert self._process is not None
        # The postmaster first, because it could start others.
        self._frozen = [self._process.pid]
        os.kill(self._process.pid, signal.SIGSTOP)
        self._frozen += children_of(self._process.pid)
        for pid in self._frozen[1:]:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it, if it is frozen."""
        for pid in reversed(self._frozen):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen = []

    def promote(self) -> None:
        """Promote it to a primary."""
        execute(self.url(), "SELECT pg_promote()")

    def pause(self) -> None:
        """Receive changes of the primary without replaying them."""
        execute(self.url(), "SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        """Undo `pause`."""
        execute(self.url(), "SELECT pg_wal_replay_resume()")

    def delay(self, seconds: float) -> None:
        """Delay the replay of changes."""
        delay = f"ALTER SYSTEM SET recovery_min_apply_delay = '{round(seconds * 1000)}ms'"
        execute(self.url(), delay, "SELECT pg_reload_conf()")

    def heal(self) -> None:
        """Undo all faults except a promotion; return when it responds."""
        self.thaw()
        if self._process is None:
            self.start()
        self.resume()
        self.delay(0)


@contextmanager
def standby_of(primary: PostgresServer, name: str) -> Iterator[Standby]:
    """Run a standby of a server."""
    standby = Standby(primary, name)
    standby.initialize()
    try:
        standby.start()
        yield standby
    finally:
        standby.stop()


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that still run."""
    with suppress(FileNotFoundError):  # Linux; a minimal image has no `ps`.
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    processes = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True
    )
    pairs = (line.split() for line in processes.stdout.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]
