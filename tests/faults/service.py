"""The rendered service as a real process."""

import http.client
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from services import environment

from faults.ports import free_port
from faults.waiting import wait_until

START_SECONDS = 20


class Service:
    """`python -m app` of a rendered project, in an environment where it is installed."""

    def __init__(
        self, python: Path, project: Path, directory: Path, settings: dict[str, str]
    ) -> None:
        self.port = free_port()
        self.log = directory / "log"
        self._python = python
        self._project = project
        self._directory = directory
        self._settings = {"ENVIRONMENT": "prod", "DATABASE_PGBOUNCER": "false", **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it is live."""
        command = [str(self._python), "-m", "app"]
        settings = environment(PYTHONPATH=str(self._project), PORT=str(self.port), **self._settings)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._directory,
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self._gone() or self.get("/health/live"), START_SECONDS, "liveness")
        assert not self._gone(), f"the service ended:\n{self.output}"

    def wait_until_ready(self, seconds: float = 10) -> float:
        """Return when it is ready; give the seconds until then."""
        return wait_until(lambda: self.get("/health/ready") == 200, seconds, "readiness")

    def get(self, path: str, seconds: float = 5) -> int | None:
        """The status of the answer to a GET; None: there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def terminate(self) -> None:
        """Ask it to end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_until_gone(self, seconds: float) -> float | None:
        """Give the seconds that it took to end; None: it still runs."""
        assert self._process is not None
        start = time.monotonic()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return time.monotonic() - start

    def kill(self) -> None:
        """Kill it with its workers, if it runs."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    @property
    def returncode(self) -> int | None:
        """What it ended with."""
        assert self._process is not None
        return self._process.poll()

    @property
    def workers(self) -> list[int]:
        """The processes that it has started, of which only those that serve are listed."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        # Python's multiprocessing has one that counts semaphores.
        return [
            int(child)
            for child in children
            if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()
        ]

    @property
    def memory(self) -> int:
        """Resident bytes."""
        return self._memory("VmRSS")

    @property
    def peak_memory(self) -> int:
        """The most bytes that were resident at any time."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    @property
    def output(self) -> str:
        """All that it has logged and printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _gone(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def __repr__(self) -> str:
        return f"Service(port={self.port})"
