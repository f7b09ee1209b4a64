"""How PostgreSQL finds the rows of each request when there are many: by indexes, never by reading
whole tables."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Connection, event, select, text

from app.example.items.models import Item
from app.kit.db import Database, PageQuery, paginate
from app.main import create_app
from tests.example.api import API
from tests.kit.fixtures import client_of, make_settings, running_app

# Of so many rows no plan reads all to find one, if it need not.
ROWS = 10_000
# Has a tenth of all items, and likes them.
RICH = 1
FILL = (
    f"INSERT INTO users (username, email, balance, created_at) "
    f"SELECT 'user' || n, 'user' || n || '@example.org', 100, now() "
    f"FROM generate_series(1, {ROWS}) n",
    f"INSERT INTO items (name, price, created_at, user_id) "
    f"SELECT 'item' || n, 1, now(), CASE WHEN n % 10 = 0 THEN {RICH} ELSE n END "
    f"FROM generate_series(1, {ROWS}) n",
    f"INSERT INTO favorites (user_id, item_id) "
    f"SELECT CASE WHEN n % 10 = 0 THEN {RICH} ELSE n END, n FROM generate_series(1, {ROWS}) n",
    f"INSERT INTO transfers (from_user_id, to_user_id, amount, created_at) "
    f"SELECT n, 1 + n % {ROWS}, 1, now() FROM generate_series(1, {ROWS}) n",
    f"INSERT INTO idempotency_keys (key, fingerprint, principal, status, headers, created_at) "
    f"SELECT 'key' || n, 'x', 'y', 201, '', now() FROM generate_series(1, {ROWS}) n",
    "ANALYZE",
)
TRANSFER = {"from_user_id": 1, "to_user_id": 2, "amount": "1.00"}
ITEM = {"name": "thing", "price": "1.00", "user_id": 1}
TAGS = {"users", "items", "favorites", "transfers"}
# One request of every operation with these tags, those that delete last.
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "create_user": ("POST", "/users", {"username": "new", "email": "new@example.org"}),
    "list_users": ("GET", "/users?limit=1000", None),
    "get_user": ("GET", "/users/7", None),
    "update_user": ("PATCH", "/users/7", {"username": "another"}),
    "list_items_of_user": ("GET", "/users/7/items", None),
    "add_favorite": ("PUT", "/users/7/favorites/8", None),
    "list_favorites": ("GET", "/users/7/favorites", None),
    "remove_favorite": ("DELETE", "/users/7/favorites/8", None),
    "create_item": ("POST", "/items", ITEM),
    "create_items": ("POST", "/items/bulk", [ITEM] * 3),
    "list_items": ("GET", "/items", None),
    "get_item": ("GET", "/items/7", None),
    "update_item": ("PATCH", "/items/7", {"price": "2.00"}),
    "create_transfer": ("POST", "/transfers", TRANSFER),
    "get_transfer": ("GET", "/transfers/7", None),
    "delete_item": ("DELETE", "/items/7", None),
    "delete_user": ("DELETE", "/users/7", None),
}
PLANNED = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
UNINDEXED = text("""
    SELECT conrelid::regclass || '.' || conname FROM pg_constraint AS c
    WHERE contype = 'f' AND NOT EXISTS (
        SELECT FROM pg_index
        WHERE indrelid = c.conrelid AND indisvalid AND indpred IS NULL
          AND (indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey
    )
""")


class Plans:
    """The plans of all statements that an application runs."""

    def __init__(self, app: FastAPI) -> None:
        self.found: list[tuple[str, Any]] = []
        """Statements, each with the root of its plan."""
        database: Database = app.state.database
        for engine in database.engines:
            event.listen(engine.sync_engine, "before_cursor_execute", self._explain)

    def _explain(self, connection: Connection, _: Any, statement: str, *rest: Any) -> None:
        parameters, _context, many = rest
        if many or not statement.lstrip().startswith(PLANNED):
            return
        planned = connection.connection.cursor()
        planned.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        (row,) = planned.fetchall()
        plan = json.loads(row[0]) if isinstance(row[0], str) else row[0]
        planned.close()
        self.found.append((statement, plan[0]["Plan"]))


def nodes(plan: Any) -> Iterator[Any]:
    """A plan's steps."""
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


@pytest.fixture
async def filled_app(own_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database with many rows."""
    async with running_app(make_settings(own_url)) as app:
        database: Database = app.state.database
        async with database.write() as session:
            for statement in FILL:
                await session.execute(text(statement))
        yield app


def test_every_operation_is_tried() -> None:
    paths = create_app(make_settings("postgresql://host/database")).openapi()["paths"]
    operations = {
        operation["operationId"]
        for path, methods in paths.items()
        if path.startswith(API)
        for operation in methods.values()
        if TAGS.intersection(operation.get("tags", []))
    }
    assert REQUESTS.keys() == operations


async def test_no_request_reads_a_whole_table(filled_app: FastAPI) -> None:
    plans = Plans(filled_app)
    async with client_of(filled_app) as client:
        for name, (method, path, body) in REQUESTS.items():
            before = len(plans.found)
            headers = {"Idempotency-Key": name} if method == "POST" else {}
            response = await client.request(method, f"{API}{path}", json=body, headers=headers)

            assert response.status_code < 300, f"{name}: {response.text}"
            assert len(plans.found) > before, name
        await check_second_pages(client)

    scans = {
        statement
        for statement, plan in plans.found
        if any(node["Node Type"] == "Seq Scan" for node in nodes(plan))
    }
    assert scans == set()
    # That a scan would be seen.
    async with filled_app.state.database.write() as session:
        await session.execute(text("SELECT * FROM items WHERE description = 'x'"))
    assert "Seq Scan" in {node["Node Type"] for node in nodes(plans.found[-1][1])}


async def test_no_page_reads_rows_of_others_or_sorts(filled_app: FastAPI) -> None:
    plans = Plans(filled_app)
    async with client_of(filled_app) as client:
        for path in (f"/users/{RICH}/items", f"/users/{RICH}/favorites"):
            first = (await client.get(f"{API}{path}")).json()
            second = await client.get(f"{API}{path}", params={"after": first["next"]})
            assert len(second.json()["items"]) == 50

    pages = [(statement, plan) for statement, plan in plans.found if "LIMIT" in statement]
    assert len(pages) == 4
    for statement, plan in pages:
        steps = list(nodes(plan))
        assert not any("Filter" in step or "Sort Key" in step for step in steps), statement


LISTS = {
    # The index on name alone serves the tie-breaker, too: only equal names are sorted.
    "by another column": (select(Item).order_by(Item.name.desc()), "Incremental Sort"),
    "filtered, newest first": (
        select(Item).where(Item.user_id == RICH).order_by(Item.id.desc()),
        "Limit",
    ),
    "filtered by a range": (select(Item).where(Item.id > ROWS // 2), "Limit"),
}


@pytest.mark.parametrize(("statement", "step"), LISTS.values(), ids=LISTS.keys())
async def test_other_lists_read_no_more_than_their_page(
    filled_app: FastAPI, statement: Any, step: str
) -> None:
    plans = Plans(filled_app)
    async with filled_app.state.database.read() as session:
        first = await paginate(session, statement, PageQuery())
        second = await paginate(session, statement, PageQuery(after=first.next))
        assert len(second.items) == 50

    pages = [plan for statement, plan in plans.found if "LIMIT" in statement]
    assert len(pages) == 2
    for plan in pages:
        types = [node["Node Type"] for node in nodes(plan)]
        assert types in ([["Limit", "Index Scan"], ["Limit", "Incremental Sort", "Index Scan"]])
        assert step in types
        assert all("Index Cond" in node for node in nodes(pages[1]) if "Index Name" in node)


async def check_second_pages(client: AsyncClient) -> None:
    for path in ("/users", "/items"):
        first = (await client.get(f"{API}{path}")).json()
        second = await client.get(f"{API}{path}", params={"after": first["next"]})
        assert len(second.json()["items"]) == 50


async def test_every_foreign_key_has_an_index(filled_app: FastAPI) -> None:
    # Without one, deleting a row reads the whole table that refers to it.
    async with filled_app.state.database.read() as session:
        assert (await session.scalars(UNINDEXED)).all() == []
