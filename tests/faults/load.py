"""Clients of the service, who keep account of every answer, and a probe of its health.

They live in a thread of their own, so that a scenario can be told in order: start them, break
something, mend it, look.
"""

import asyncio
import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

API = "/api/v1"
PROBLEM = "application/problem+json"
ACCOUNTS = 8
BALANCE = 1000
# A client gives up later than any answer may take.
PATIENCE = 40.0
# How often a client repeats a request with a key until it learns the outcome.
REPEAT_SECONDS = 30.0

_runs = itertools.count(1)


@dataclass
class Answer:
    """What became of one request."""

    operation: str
    start: float
    """By `time.monotonic()`."""
    seconds: float = 0.0
    status: int | None = None
    error: str | None = None
    """What the connection met instead of an answer."""
    media_type: str = ""
    retry_after: str | None = None
    body: Any = None
    text: str = ""

    @property
    def ok(self) -> bool:
        """Whether the client got what it wanted, or a conflict that it must expect."""
        return self.status is not None and (self.status < 300 or self.status == 409)

    @property
    def outcome_unknown(self) -> bool:
        """Whether the answer says that a write may have happened."""
        # Then it tells how to be sure.
        unsure = self.status in (503, 504) and "Idempotency-Key" in self.text
        return self.status is None or unsure

    @property
    def end(self) -> float:
        """When the answer was complete."""
        return self.start + self.seconds

    def broken_bars(self) -> Iterator[str]:
        """What is wrong with it, whatever happened to the database."""
        if self.status is None:
            yield f"no answer: {self.error}"
        elif self.status >= 500 and self.status not in (503, 504):
            yield f"status {self.status}"
        elif self.status >= 400 and self.media_type != PROBLEM:
            yield f"a {self.status} that is {self.media_type or 'nothing'}, no problem"
        elif self.status == 503 and not (self.retry_after or "").isdigit():
            yield "a 503 without Retry-After"


@dataclass
class Write:
    """An item that a client wants to exist, under a name that nothing else has."""

    name: str
    keyed: bool
    answers: list[Answer] = field(default_factory=list)

    @property
    def acknowledged(self) -> bool:
        """Whether the client was told that it exists."""
        return any(answer.status == 201 for answer in self.answers)

    @property
    def may_exist(self) -> bool:
        """Whether no answer denied it."""
        return self.acknowledged or any(answer.outcome_unknown for answer in self.answers)


class Client:
    """Sends requests and keeps account of them."""

    def __init__(self, base_url: str, *, keep_alive: bool = True) -> None:
        limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=None if keep_alive else 0
        )
        self.http = httpx2.AsyncClient(
            base_url=base_url, timeout=PATIENCE, limits=limits, trust_env=False
        )
        self.answers: list[Answer] = []

    async def ask(self, operation: str, method: str, path: str, **arguments: Any) -> Answer:
        """Send a request, and note what becomes of it."""
        answer = Answer(operation, time.monotonic())
        try:
            response = await self.http.request(method, path, **arguments)
            answer.status = response.status_code
            answer.media_type = response.headers.get("Content-Type", "").partition(";")[0]
            answer.retry_after = response.headers.get("Retry-After")
            answer.text = response.text
            if response.content and "json" in answer.media_type:
                answer.body = response.json()
        except (httpx2.HTTPError, OSError, ValueError) as error:
            answer.error = type(error).__name__
        answer.seconds = time.monotonic() - answer.start
        self.answers.append(answer)
        return answer


class Load:
    """Clients that read and write until they are told to stop."""

    OPERATIONS = ("read", "list", "write", "write once", "transfer", "transfer once")

    def __init__(
        self,
        base_url: str,
        *,
        clients: int,
        pause: float,
        operations: tuple[str, ...] | None,
        keep_alive: bool,
        accounts: list[int],
    ) -> None:
        self.accounts = accounts
        self.writes: list[Write] = []
        self.transfers: list[int] = []
        """The ids of the transfers that clients were told of."""
        self.lag = 0.0
        """By how much this thread itself was late: no request can be judged more finely."""
        self._base_url = base_url
        self._clients = clients
        self._pause = pause
        self._operations = operations or self.OPERATIONS
        self._keep_alive = keep_alive
        self._run = next(_runs)
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._client: Client
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE + REPEAT_SECONDS)
        assert not self._thread.is_alive(), "the clients do not end"

    @property
    def answers(self) -> list[Answer]:
        """What became of all requests."""
        return list(self._client.answers)

    def failures(self) -> Counter[str]:
        """What was answered instead of success, and how often."""
        return Counter(
            f"{answer.operation}: {answer.status or answer.error}"
            for answer in self.answers
            if not answer.ok
        )

    async def _main(self) -> None:
        self._client = Client(self._base_url, keep_alive=self._keep_alive)
        async with self._client.http:
            self._started.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._measure_lag())
                operations = itertools.cycle(self._operations)
                for operation in itertools.islice(operations, self._clients):
                    group.create_task(self._work(operation))

    async def _measure_lag(self) -> None:
        while not self._stopping.is_set():
            start = time.monotonic()
            await asyncio.sleep(0.05)
            self.lag = max(self.lag, time.monotonic() - start - 0.05)

    async def _work(self, operation: str) -> None:
        # Each client does one thing all the time: who repeats a write must not keep others from
        # reading.
        while not self._stopping.is_set():
            match operation:
                case "read":
                    user = random.choice(self.accounts)
                    await self._client.ask(operation, "GET", f"{API}/users/{user}")
                case "list":
                    await self._client.ask(operation, "GET", f"{API}/items?limit=5")
                case "write" | "write once":
                    await self._write(operation)
                case "transfer" | "transfer once":
                    await self._transfer(operation)
            await asyncio.sleep(self._pause)

    async def _write(self, operation: str) -> None:
        keyed = operation == "write once"
        write = Write(f"write-{self._run}-{next(self._numbers)}", keyed)
        self.writes.append(write)
        body = {"name": write.name, "price": "1.00"}
        async for answer in self._ask(operation, f"{API}/items", body, write.name):
            write.answers.append(answer)

    async def _transfer(self, operation: str) -> None:
        sender, receiver = random.sample(self.accounts, 2)
        body = {"from_user_id": sender, "to_user_id": receiver, "amount": "0.01"}
        key = f"transfer-{self._run}-{next(self._numbers)}"
        async for answer in self._ask(operation, f"{API}/transfers", body, key):
            if answer.status == 201:
                self.transfers.append(answer.body["id"])

    async def _ask(self, operation: str, path: str, body: object, key: str) -> Any:
        """One request; with a key it is repeated until its outcome is known."""
        if not operation.endswith("once"):
            yield await self._client.ask(operation, "POST", path, json=body)
            return
        give_up = time.monotonic() + REPEAT_SECONDS
        while time.monotonic() < give_up:
            headers = {"Idempotency-Key": key}
            answer = await self._client.ask(operation, "POST", path, json=body, headers=headers)
            yield answer
            if answer.status == 201 or (self._stopping.is_set() and answer.error):
                return
            await asyncio.sleep(0.1)


@dataclass(frozen=True)
class Look:
    """One look at the health of the service."""

    start: float
    seconds: float
    status: int | None


class Probe:
    """Looks at liveness and readiness all the time, as an orchestrator does, in its own thread."""

    INTERVAL = 0.1

    def __init__(self, port: int, sessions: Callable[[], int] | None = None) -> None:
        self.live: list[Look] = []
        self.ready: list[Look] = []
        self.lag = 0.0
        self.most_sessions = 0
        self._sessions = sessions
        self._port = port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(15)

    async def _main(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look("/health/live", self.live))
            group.create_task(self._look("/health/ready", self.ready))
            group.create_task(self._measure_lag())
            if self._sessions is not None:
                group.create_task(self._count_sessions(self._sessions))

    async def _measure_lag(self) -> None:
        while not self._stopping.is_set():
            start = time.monotonic()
            await asyncio.sleep(0.05)
            self.lag = max(self.lag, time.monotonic() - start - 0.05)

    async def _count_sessions(self, count: Callable[[], int]) -> None:
        while not self._stopping.is_set():
            # A server that is away has none.
            with contextlib.suppress(Exception):
                self.most_sessions = max(self.most_sessions, await asyncio.to_thread(count))
            await asyncio.sleep(0.3)

    async def _look(self, path: str, looks: list[Look]) -> None:
        while not self._stopping.is_set():
            start = time.monotonic()
            status = None
            try:
                async with asyncio.timeout(10):
                    status = await self._get(path)
            except (OSError, EOFError, ValueError, IndexError):
                pass
            looks.append(Look(start, time.monotonic() - start, status))
            await asyncio.sleep(self.INTERVAL)

    async def _get(self, path: str) -> int:
        # A new connection each time, as orchestrators do.
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return int((await reader.readline()).split()[1])
        finally:
            writer.close()


@contextmanager
def measured(probe: Probe) -> Iterator[Probe]:
    """Look while the block runs."""
    probe.start()
    try:
        yield probe
    finally:
        probe.stop()
