"""The statements that each request would send to Oracle."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import oracledb
import pytest
from httpx2 import AsyncClient

from app.example import holdings
from app.example.users.service import list_users_with_items
from app.kit.db import Database, PageQuery
from app.main import create_app
from tests.example.api import API
from tests.kit.fixtures import client_of, make_settings
from tests.kit.offline.recorder import Recorder

URL = "oracle://app:secret@db.example:1521?service_name=service"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901)
USERS = [(n, f"user{n}", f"user{n}@example.org", Decimal("50.00"), NOW) for n in (1, 2)]
ITEM = (3, "lamp", "of brass", Decimal("19.99"), NOW, 1)
TRANSFER = (4, 1, 2, Decimal("5.00"), NOW)

PAGE = "FETCH FIRST :page_limit ROWS ONLY"


@pytest.fixture
async def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """What would be sent to the server, which has a few rows."""
    recorder = Recorder()
    recorder.given = 1
    recorder.rows = [
        ("FROM users WHERE users.id = :", USERS[0]),
        *(("FROM users ORDER BY users.id", user) for user in USERS),
        *(("FROM users WHERE users.id IN (:ids_1, :ids_2)", user) for user in USERS),
        ("FROM items WHERE items.id = :", ITEM),
        ("FROM items WHERE items.user_id = :user_id", ITEM),
        ("FROM items JOIN favorites ON", (*ITEM, 3)),
        ("SELECT transfers.id", TRANSFER),
    ]
    monkeypatch.setattr(oracledb, "connect_async", recorder.connect)
    return recorder


@pytest.fixture
async def database(recorder: Recorder) -> AsyncIterator[Database]:
    """A database outside requests."""
    database = Database(make_settings(URL))
    yield database
    await database.close()


@pytest.fixture
async def recorded_client(recorder: Recorder) -> AsyncIterator[AsyncClient]:
    """A client of the application."""
    # It is not started, because at its start the service sends something of its own.
    app = create_app(make_settings(URL))
    async with client_of(app) as client:
        yield client
    await app.state.database.close()


REQUESTS: list[tuple[str, str, Any, int, list[str]]] = [
    (
        "GET",
        "/users",
        None,
        200,
        [f"FROM users ORDER BY users.id {PAGE}"],
    ),
    ("GET", "/users/1", None, 200, ["FROM users WHERE users.id = :id"]),
    (
        "POST",
        "/users",
        {"username": "a", "email": "a@b"},
        201,
        [
            "INSERT INTO users (username, email, balance, created_at) VALUES",
            "RETURNING users.id INTO",
        ],
    ),
    ("PATCH", "/users/1", {"username": "b"}, 200, ["UPDATE users SET username=:username WHERE"]),
    ("DELETE", "/users/1", None, 204, ["DELETE FROM users WHERE users.id = :id"]),
    ("GET", "/users/1/items", None, 200, ["items.user_id = :user_id", f"ORDER BY items.id {PAGE}"]),
    (
        "PUT",
        "/users/1/favorites/3",
        None,
        204,
        ["SAVEPOINT", "INSERT INTO favorites (user_id, item_id) VALUES (:user_id, :item_id)"],
    ),
    ("DELETE", "/users/1/favorites/3", None, 204, ["DELETE FROM favorites WHERE"]),
    ("GET", "/users/1/favorites", None, 200, ["FROM items JOIN favorites ON", PAGE]),
    ("GET", "/items", None, 200, [f"FROM items ORDER BY items.id {PAGE}"]),
    ("GET", "/items/3", None, 200, ["FROM items WHERE items.id = :id"]),
    ("POST", "/items", {"name": "x", "price": "1"}, 201, ["RETURNING items.id INTO"]),
    (
        "POST",
        "/items/bulk",
        [{"name": "x", "price": "1"}, {"name": "y", "price": "2", "description": "é" * 10_000}],
        201,
        ["VALUES (:name, :description, :price, :created_at, :user_id)"],
    ),
    ("PATCH", "/items/3", {"price": "2"}, 200, ["UPDATE items SET price=:price WHERE"]),
    ("DELETE", "/items/3", None, 204, ["DELETE FROM items WHERE items.id = :id"]),
    (
        "POST",
        "/transfers",
        {"from_user_id": 1, "to_user_id": 2, "amount": "5"},
        201,
        [
            "WHERE users.id IN (:ids_1, :ids_2) ORDER BY users.id FOR UPDATE",
            "INSERT INTO transfers",
        ],
    ),
    ("GET", "/transfers/4", None, 200, ["FROM transfers WHERE transfers.id = :id"]),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "fragments"),
    REQUESTS,
    ids=[f"{method} {path}" for method, path, *_ in REQUESTS],
)
async def test_request_sends_what_oracle_understands(
    recorder: Recorder,
    recorded_client: AsyncClient,
    method: str,
    path: str,
    body: Any,
    status: int,
    fragments: list[str],
) -> None:
    response = await recorded_client.request(method, f"{API}{path}", json=body)

    assert response.status_code == status, response.text
    text = "\n".join(recorder.sent)
    for fragment in fragments:
        assert fragment in text
    assert ("SET TRANSACTION READ ONLY" in text) is (method == "GET")
    # The pool rolls back what it gets, whatever it is.
    assert recorder.sent[-2:] == ["COMMIT", "ROLLBACK"]


async def test_rows_are_read_as_they_were_stored(recorded_client: AsyncClient) -> None:
    item = (await recorded_client.get(f"{API}/items/3")).json()

    assert item["price"] == "19.99"
    assert item["description"] == "of brass"
    # The driver returns times without an offset; the session is in UTC.
    assert item["created_at"] == "2026-01-02T03:04:05.678901Z"


async def test_long_text_is_sent_as_such(recorder: Recorder, recorded_client: AsyncClient) -> None:
    body = {"name": "x", "price": "1", "description": "é" * 10_000}

    assert (await recorded_client.post(f"{API}/items", json=body)).status_code == 201
    assert recorder.types["description"] is oracledb.DB_TYPE_NVARCHAR
    assert recorder.types["created_at"] is oracledb.DB_TYPE_TIMESTAMP


async def test_users_are_loaded_with_what_belongs_to_them(
    recorder: Recorder, database: Database
) -> None:
    async with database.read() as session:
        await list_users_with_items(session, PageQuery())

    assert len([s for s in recorder.sent if s.startswith("SELECT users.id")]) == 1
    assert "WHERE items.user_id IN (:primary_keys_1, :primary_keys_2)" in "\n".join(recorder.sent)


async def test_report_ranks_in_the_database(recorder: Recorder, database: Database) -> None:
    recorder.rows.append(("SELECT username, things, worth", ("user1", 2, Decimal("21.00"))))
    async with database.read() as session:
        rows = (await session.execute(holdings.RICHEST, {"places": 10})).all()

    assert rows == [("user1", 2, Decimal("21.00"))]
