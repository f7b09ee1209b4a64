"""The processes that are measured: rendered services, contenders and PostgreSQL."""

import json
import os
import random
import resource
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import copier
import psutil
import uv

ROOT = Path(__file__).parents[1]
CONTENDERS = Path(__file__).parent / "contenders"
START_SECONDS = 30
# The contenders that are services of the template, and what they find in their environment.
RENDERED: dict[str, dict[str, str]] = {
    "rendered": {},
    "silent": {"LOG_LEVEL": "CRITICAL"},
    "metrics": {},
}
# What would lead a process to the settings, servers or environments of whoever runs the benchmark.
FOREIGN = ("DATABASE_", "PG", "PYTHON", "UV_PROJECT_", "VIRTUAL_ENV")
# The contenders have the same tables in SQLite, too, but the service keeps money in cents there.
SQLITE_ROWS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
INSERT INTO items (name, description, price, created_at)
SELECT 'Item ' || n, 'What there is to say about it', (n % 1000 + 0.95) * {cents},
       '2026-01-01 00:00:00.000000' FROM numbers
"""


def allow_many_connections() -> None:
    """Raise the limit of open files, as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))


def render(folder: Path, database: str, *, metrics: bool = False) -> Path:
    """Render a service, uncommitted changes of the template included, and install it."""
    copier.run_copy(
        str(ROOT),
        folder,
        data={"database": database, "containers": False, "ci": "none", "metrics": metrics},
        defaults=True,
        vcs_ref="HEAD",
        quiet=True,
    )
    subprocess.run(
        [uv.find_uv_bin(), "sync", "--quiet", "--python", sys.executable],
        cwd=folder,
        env=_environment(),
        check=True,
    )
    return folder


@contextmanager
def postgresql(project: Path, names: list[str]) -> Iterator[tuple["Process", dict[str, str]]]:
    """Run a server, and give it with the URLs of one database for each name."""
    with subprocess.Popen(
        [project / ".venv/bin/python", Path(__file__).with_name("postgres.py"), *names],
        cwd=project,
        env=_environment(PYTHONPATH=str(project)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        yield Process(started["pid"]), started["urls"]
        process.communicate()


def sqlite(project: Path, name: str, file: Path) -> str:
    """Make a database file with the rows that reads need, and give its URL."""
    url = f"sqlite+aiosqlite:///{file}"
    if name == "rendered":
        subprocess.run(
            [project / ".venv/bin/python", "-m", "app", "migrate"],
            cwd=project,
            env=_environment(DATABASE_URL=url),
            check=True,
            capture_output=True,
        )
    else:
        # It makes its tables when it starts.
        with contender(project, name, url):
            pass
    with sqlite3.connect(file) as connection:
        connection.execute(SQLITE_ROWS.format(cents=100 if name == "rendered" else 1))
    connection.close()
    return url


@contextmanager
def contender(project: Path, name: str, database_url: str) -> Iterator["Server"]:
    """Serve one contender from one process, with the packages of the rendered service."""
    port = _free_port()
    environment = _environment(DATABASE_URL=database_url)
    if name in RENDERED:
        # Its production command in its production settings.
        arguments = ["app"]
        environment |= {"ENVIRONMENT": "prod", "PORT": str(port), **RENDERED[name]}
    else:
        arguments = ["uvicorn", "--port", str(port), "--no-access-log"]
        arguments += ["--app-dir", str(CONTENDERS), f"{name}:app"]
    with (project / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [project / ".venv/bin/python", "-m", *arguments],
            cwd=project,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        server = Server(process.pid, f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + START_SECONDS
        while not server.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start:\n{Path(log.name).read_text()}")
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Process:
    """A process with its children."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """CPU time so far, user and system, of those that ended as well."""
        times = self._process.cpu_times()
        seconds = times.user + times.system + times.children_user + times.children_system
        for child in self._process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                seconds += times.user + times.system
        return float(seconds)

    def memory(self) -> float:
        """Resident memory of the process itself, in MB."""
        return float(self._process.memory_info().rss / 1e6)


class Server(Process):
    """A contender that listens at `url`."""

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(pid)
        self.url = url

    def answers(self) -> bool:
        """Whether it is ready for requests."""
        with suppress(URLError, OSError), urlopen(f"{self.url}/health/live", timeout=5):
            return True
        return False


class PeakMemory:
    """Watches the memory of a process during a `with` block: `peak`, in MB."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak = process.memory()

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.peak = max(self.peak, self._process.memory())


def _environment(**ours: str) -> dict[str, str]:
    return {name: v for name, v in os.environ.items() if not name.startswith(FOREIGN)} | ours


def _free_port() -> int:
    # Below those that outgoing connections take.
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
