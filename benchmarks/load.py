"""What is asked of the contenders, and how much of it at a time."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from benchmarks.processes import PeakMemory, Process, Server

SCRIPT = Path(__file__).with_name("requests.lua")
# Fewer answers tell nothing; more failures tell that something is broken.
MIN_ANSWERS = 5
MAX_FAILED = 100_000
# The same requests in every run.
_random = random.Random(6)


@dataclass(frozen=True)
class Endpoint:
    """Requests of one kind: method, path and body."""

    name: str
    requests: list[tuple[str, str, object]]
    rows: int = 1
    """How many rows a request reads or writes."""

    def write_to(self, folder: Path) -> Path:
        """Write the requests down for wrk."""
        lines = (
            f"{method} {path} {'' if body is None else json.dumps(body)}"
            for method, path, body in self.requests
        )
        file = folder / f"{self.name.replace(' ', '-')}.txt"
        file.write_text("\n".join(lines))
        return file


def _item(number: int) -> dict[str, object]:
    price = f"{_random.randrange(1000)}.50"
    return {"name": f"Item {number}", "description": "What there is to say", "price": price}


def _transfer() -> dict[str, object]:
    sender, receiver = _random.sample(range(1, 1001), 2)
    return {"from_user_id": sender, "to_user_id": receiver, "amount": "0.01"}


NO_DATABASE = Endpoint("no database", [("GET", "/health/live", None)])
READ_ONE = Endpoint(
    "read one", [("GET", f"/api/v1/items/{_random.randint(1, 10_000)}", None) for _ in range(1000)]
)
PAGE_OF_50 = Endpoint("page of 50", [("GET", "/api/v1/items?limit=50", None)], rows=50)
PAGE_OF_1000 = Endpoint("page of 1,000", [("GET", "/api/v1/items?limit=1000", None)], rows=1000)
CREATE = Endpoint("create", [("POST", "/api/v1/items", _item(n)) for n in range(100)])
TRANSFER = Endpoint("transfer", [("POST", "/api/v1/transfers", _transfer()) for _ in range(1000)])
BULK_OF_100 = Endpoint(
    "bulk of 100", [("POST", "/api/v1/items/bulk", [_item(n) for n in range(100)])], rows=100
)
BULK_OF_10000 = Endpoint(
    "bulk of 10,000",
    [("POST", "/api/v1/items/bulk", [_item(n) for n in range(10_000)])],
    rows=10_000,
)


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    endpoint: Endpoint
    connections: int

    @property
    def name(self) -> str:
        """What it is called in the output."""
        return f"{self.endpoint.name} @ {self.connections:,}"


@dataclass(frozen=True)
class Sample:
    """What one contender did in one cell of one round."""

    cpu: float
    """CPU time of the server a request, in microseconds."""
    database_cpu: float
    """CPU time of the database server a request, in microseconds."""
    rate: float
    """Answers of status 2xx a second."""
    p50: float
    """Milliseconds."""
    p99: float
    """Milliseconds."""
    memory: float
    """The most that the server had, in MB."""
    idle_memory: float
    """What it had before the round, in MB."""
    failed: int
    """Answers of another status, and connections that broke."""


def find_wrk() -> str:
    """The load generator."""
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("wrk generates the load: apt-get install wrk, or brew install wrk.")
    return wrk


def ask(server: Server, method: str, path: str, body: object) -> object:
    """Send one request, and give the JSON of the answer.

    Raises:
        urllib.error.HTTPError: The answer is none of status 2xx.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = Request(f"{server.url}{path}", data, headers, method=method)
    with urlopen(request, timeout=30) as response:
        return json.load(response)


def warm_up(server: Server, endpoint: Endpoint, times: int) -> None:
    """Have caches filled before anything is measured."""
    for n in range(times):
        ask(server, *endpoint.requests[n % len(endpoint.requests)])


def measure(
    server: Server,
    database: Process | None,
    cell: Cell,
    seconds: int,
    folder: Path,
    idle_memory: float,
) -> Sample:
    """Have wrk keep as many requests going as the cell has connections."""
    options = [f"-c{cell.connections}", "-t1", f"-d{seconds}s", "--timeout=30s"]
    requests = cell.endpoint.write_to(folder)
    command = [find_wrk(), *options, f"--script={SCRIPT}", server.url, "--", str(requests)]
    watched = [server] if database is None else [server, database]
    before = [process.cpu_seconds() for process in watched]
    answers = failed = 0
    with PeakMemory(server) as memory:
        # More than once where a second is too short for an answer.
        while answers < MIN_ANSWERS:
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            result = json.loads(run.stdout.partition("RESULT")[2])
            answers += result["answers"] - result["refused"]
            failed += result["refused"] + result["broken"]
            if failed > MAX_FAILED:
                raise RuntimeError(f"{cell.name}: {failed} requests failed")
    spent = [process.cpu_seconds() for process in watched]
    cpu = [1e6 * (after - then) for after, then in zip(spent, before, strict=True)]
    return Sample(
        cpu=cpu[0] / answers,
        database_cpu=cpu[1] / answers if database else 0,
        rate=(result["answers"] - result["refused"]) / result["seconds"],
        p50=result["p50"],
        p99=result["p99"],
        memory=memory.peak,
        idle_memory=idle_memory,
        failed=failed,
    )
