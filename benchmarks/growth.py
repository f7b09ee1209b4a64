"""Measures what each request costs when tables grow, or the number of clients: `python -m
benchmarks.growth`.

The figures are CPU time of the service and of PostgreSQL, and how long the client waited. Whatever
the number of rows and clients, CPU time should stay.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from benchmarks import processes
from benchmarks.processes import Process, Server

API = "/api/v1"
SIZES = (10**4, 10**6, 10**7)
# A tenth of the items belongs to one user, and is what that user likes; the others have the rest.
RICH = 1
POOR = 2
ROWS = (
    # Foreign keys are kept by what is inserted; to check them would take most of the time.
    "SET session_replication_role = replica",
    "TRUNCATE users, items, favorites, transfers, idempotency_keys RESTART IDENTITY",
    "INSERT INTO users (username, email, balance, created_at) "
    "SELECT 'user-' || n, 'user-' || n || '@example.org', 1000000, now() "
    "FROM generate_series(1, {size} / 10) n",
    "INSERT INTO items (name, price, created_at, user_id) "
    "SELECT 'Item ' || n, 1, now(), CASE WHEN n % 10 = 0 THEN 1 ELSE 2 + n % ({size} / 10 - 1) END "
    "FROM generate_series(1, {size}) n",
    "INSERT INTO favorites (user_id, item_id) "
    "SELECT CASE WHEN n % 10 = 0 THEN 1 ELSE 2 + n % ({size} / 10 - 1) END, n "
    "FROM generate_series(1, {size}) n",
    "INSERT INTO transfers (from_user_id, to_user_id, amount, created_at) "
    "SELECT 1 + n % ({size} / 10), 1 + (n + 1) % ({size} / 10), 1, now() "
    "FROM generate_series(1, {size}) n",
    "INSERT INTO idempotency_keys (key, fingerprint, status, created_at) "
    "SELECT 'key-' || n, repeat('x', 64), 201, now() FROM generate_series(1, {size} / 10) n",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)
CURSORS = """
import json, sys
import app.models
from app.kit.db import Base
from app.kit.db.keyset import OrderColumn, keyset
table, column, numbers = json.load(sys.stdin)
order = keyset((OrderColumn(Base.metadata.tables[table].c[column]),))
print(json.dumps([order.encode((number,)) for number in numbers]))
"""


@dataclass(frozen=True)
class Request:
    """Method, path and body; `key` gives it an Idempotency-Key."""

    method: str
    path: str
    body: Any = None
    key: str | None = None


@dataclass(frozen=True)
class Cost:
    """Of one request, in microseconds."""

    service: float
    database: float
    wait: float

    def __str__(self) -> str:
        return f"{self.service:,.0f} + {self.database:,.0f} ({self.wait / 1000:.1f})"


def requests(size: int, number: int, cursors: Callable[[str, list[int]], list[str]]) -> Any:
    """So many requests of each kind, for tables of a size, as `(name, requests)`."""
    chance = random.Random(size)

    def ids(highest: int, lowest: int = 1) -> list[int]:
        return [chance.randint(lowest, highest) for _ in range(number)]

    users, items = size // 10, size
    gets = [
        ("get user", [f"/users/{n}" for n in ids(users)]),
        ("get item", [f"/items/{n}" for n in ids(items)]),
        ("get transfer", [f"/transfers/{n}" for n in ids(items)]),
        ("first page of users", ["/users"] * number),
        (
            "page of users in the middle",
            [f"/users?after={c}" for c in cursors("users.id", ids(users * 9 // 10))],
        ),
        ("first page of items", ["/items"] * number),
        (
            "page of items in the middle",
            [f"/items?after={c}" for c in cursors("items.id", ids(items * 9 // 10))],
        ),
        ("items of a user with few", [f"/users/{n}/items" for n in ids(users, POOR)]),
        ("items of a user with a tenth", [f"/users/{RICH}/items"] * number),
        (
            "items of a user with a tenth, in the middle",
            [f"/users/{RICH}/items?after={c}" for c in cursors("items.id", ids(items * 9 // 10))],
        ),
        ("favorites of a user with few", [f"/users/{n}/favorites" for n in ids(users, POOR)]),
        ("favorites of a user with a tenth", [f"/users/{RICH}/favorites"] * number),
        (
            "favorites of a user with a tenth, in the middle",
            [
                f"/users/{RICH}/favorites?after={c}"
                for c in cursors("favorites.item_id", ids(items * 9 // 10))
            ],
        ),
    ]
    for name, paths in gets:
        yield name, [Request("GET", path) for path in paths]
    thing = {"name": "thing", "price": "1.00"}
    new = [f"new-{n}" for n in range(number)]
    pairs = [chance.sample(range(POOR, users), 2) for _ in range(number)]
    transfers = [{"from_user_id": a, "to_user_id": b, "amount": "0.01"} for a, b in pairs]
    liked = list(zip(ids(users, POOR), ids(items), strict=True))
    writes = {
        "create user": [
            Request("POST", "/users", {"username": n, "email": f"{n}@example.org"}) for n in new
        ],
        "create item": [Request("POST", "/items", thing) for _ in new],
        "the same, with Idempotency-Key": [Request("POST", "/items", thing, n) for n in new],
        "create 100 items": [Request("POST", "/items/bulk", [thing] * 100) for _ in new],
        "update user": [
            Request("PATCH", f"/users/{n}", {"email": f"changed-{k}@example.org"})
            for k, n in enumerate(ids(users))
        ],
        "update item": [Request("PATCH", f"/items/{n}", {"price": "2.00"}) for n in ids(items)],
        "transfer": [Request("POST", "/transfers", body) for body in transfers],
        "add favorite": [Request("PUT", f"/users/{u}/favorites/{i}") for u, i in liked],
        "remove favorite": [Request("DELETE", f"/users/{u}/favorites/{i}") for u, i in liked],
        "delete item": [
            Request("DELETE", f"/items/{n}") for n in chance.sample(range(1, items), number)
        ],
        "delete user": [
            Request("DELETE", f"/users/{n}") for n in chance.sample(range(POOR, users), number)
        ],
    }
    yield from writes.items()


async def measure(
    server: Server, database: Process, all_of_them: list[Request], clients: int
) -> Cost:
    """Send requests, so many at a time; give the mean CPU time of one, and the median wait."""
    waits: list[float] = []
    left = iter(all_of_them)
    async with httpx2.AsyncClient(
        base_url=f"{server.url}{API}",
        trust_env=False,
        timeout=60,
        limits=httpx2.Limits(max_connections=clients, max_keepalive_connections=clients),
    ) as http:

        async def send_next() -> None:
            for request in left:
                headers = {"Idempotency-Key": request.key} if request.key else {}
                began = time.perf_counter()
                answer = await http.request(
                    request.method, request.path, json=request.body, headers=headers
                )
                waits.append(time.perf_counter() - began)
                if answer.status_code >= 300:
                    raise RuntimeError(f"{request}: {answer.status_code} {answer.text}")

        for request in all_of_them[:20]:
            if request.method == "GET":
                await http.get(request.path)
        before = server.cpu_seconds(), database.cpu_seconds()
        await asyncio.gather(*(send_next() for _ in range(clients)))
        after = server.cpu_seconds(), database.cpu_seconds()
    service, postgres = ((b - a) / len(waits) * 1e6 for a, b in zip(before, after, strict=True))
    return Cost(service, postgres, statistics.median(waits) * 1e6)


async def fill(url: str, size: int) -> None:
    """Give the tables so many rows."""
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    for statement in ROWS:
        await connection.execute(statement.format(size=size))
    await connection.close()


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=300, help="of each kind (300), at least two for each client"
    )
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES, help="rows (1e4 1e6 1e7)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1], help="at a time (1)")
    parser.add_argument("--only", default="", help="requests whose name contains this")
    options = parser.parse_args()
    steps = [(int(size), clients) for size in options.sizes for clients in options.clients]
    processes.allow_many_connections()
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = processes.render(Path(folder) / "service", "postgresql+asyncpg")

        def cursors(column: str, numbers: list[int]) -> list[str]:
            command = [str(project / ".venv/bin/python"), "-c", CURSORS]
            output = subprocess.check_output(
                command, cwd=project, input=json.dumps([*column.split("."), numbers]), text=True
            )
            found: list[str] = json.loads(output)
            return found

        with processes.postgresql(project, ["rendered"]) as (database, urls):
            for size, clients in steps:
                began = time.monotonic()
                asyncio.run(fill(urls["rendered"], size))
                print(f"{size:,} rows after {time.monotonic() - began:.0f} s", flush=True)
                # Each client has more to do than to connect.
                number = max(options.requests, 2 * clients)
                with processes.contender(project, "rendered", urls["rendered"]) as server:
                    for name, kind in requests(size, number, cursors):
                        if options.only not in name:
                            continue
                        cost = asyncio.run(measure(server, database, kind, clients))
                        costs.setdefault(name, []).append(cost)
                        print(f"  {name}: {cost}", flush=True)
    print("\nCPU of the service + of PostgreSQL in µs for one request (median wait in ms)\n")
    heads = (f"{size:,} rows, {clients:,} at a time" for size, clients in steps)
    print("| request | " + " | ".join(heads) + " |")
    print("|---|" + "---:|" * len(steps))
    for name, of in costs.items():
        print(f"| {name} | " + " | ".join(map(str, of)) + " |")


if __name__ == "__main__":
    main()
