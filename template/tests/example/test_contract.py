"""The rules that hold for every endpoint, which clients rely on."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from httpx2 import AsyncClient

from app.example.items.models import Item
from app.example.users.models import User
from app.kit.db import Database
from tests.example.api import (
    ABSENT,
    API,
    LARGEST,
    SMALLEST,
    Json,
    assert_problem,
    create_item,
    create_user,
    created,
    get,
    transfer,
    walk,
    wrong_fields,
)
from tests.kit.fixtures import client_of, make_settings, running_app

JSON = {"Content-Type": "application/json"}
LISTS = ["/users", "/items", "/users/{user}/items", "/users/{user}/favorites"]
# Every operation on one thing; the ids are filled in.
ONE = [
    ("GET", "/users/{id}"),
    ("PATCH", "/users/{id}"),
    ("DELETE", "/users/{id}"),
    ("GET", "/users/{id}/items"),
    ("GET", "/users/{id}/favorites"),
    ("PUT", "/users/{id}/favorites/1"),
    ("PUT", "/users/1/favorites/{id}"),
    ("DELETE", "/users/{id}/favorites/1"),
    ("DELETE", "/users/1/favorites/{id}"),
    ("GET", "/items/{id}"),
    ("PATCH", "/items/{id}"),
    ("DELETE", "/items/{id}"),
    ("GET", "/transfers/{id}"),
]


async def grow(client: AsyncClient, owner: Json) -> Json:
    """Add one user, and one item that `owner` has and likes."""
    await create_user(client)
    item = await create_item(client, user_id=owner["id"])
    await client.put(f"{API}/users/{owner['id']}/favorites/{item['id']}")
    return item


@pytest.fixture
async def owner(database: Database) -> Json:
    """The first of five users, who has and likes all of five items."""
    items = [Item(name="thing", price=Decimal(n)) for n in range(5)]
    owner = User(username="a", email="a@example.org", items=items, favorites=items)
    others = [User(username=name, email=f"{name}@example.org") for name in "bcde"]
    async with database.write() as session:
        session.add_all([owner, *others])
    return {"id": owner.id}


# Creation


async def test_location_leads_to_what_was_created(client: AsyncClient) -> None:
    ada, bob = await create_user(client, balance="1.00"), await create_user(client)
    responses = [
        await client.post(f"{API}/users", json={"username": "eve", "email": "eve@example.org"}),
        await client.post(f"{API}/items", json={"name": "thing", "price": "1.00"}),
        await transfer(client, ada, bob, "1.00"),
    ]

    for response in responses:
        body = created(response)
        found = await client.get(response.headers["Location"])
        assert found.status_code == 200
        assert found.json()["id"] == body["id"]


async def test_request_retried_with_its_key_takes_effect_once(client: AsyncClient) -> None:
    ada, bob = await create_user(client, balance="5.00"), await create_user(client)
    body = {"from_user_id": ada["id"], "to_user_id": bob["id"], "amount": "1.00"}
    key = {"Idempotency-Key": "rent of May"}

    first = await client.post(f"{API}/transfers", json=body, headers=key)
    second = await client.post(f"{API}/transfers", json=body, headers=key)

    assert created(first) == created(second)
    assert first.headers["Location"] == second.headers["Location"]
    assert (await get(client, f"/users/{bob['id']}"))["balance"] == "1.00"


# Money


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        ("0", "0.00"),
        ("-0.0", "0.00"),
        ("7", "7.00"),
        ("0.1", "0.10"),
        ("0.30", "0.30"),
        ("1.10", "1.10"),
        ("1e2", "100.00"),
        ("9999999999.99", "9999999999.99"),
        ('"7"', "7.00"),
        ('"0.1"', "0.10"),
        ('"+1.5"', "1.50"),
        ('"1.000"', "1.00"),
        ('"9999999999.99"', "9999999999.99"),
    ],
)
async def test_money_comes_as_number_or_string_and_leaves_as_string(
    client: AsyncClient, sent: str, given: str
) -> None:
    content = f'{{"name": "thing", "price": {sent}}}'

    item = created(await client.post(f"{API}/items", content=content, headers=JSON))

    assert item["price"] == given
    assert (await get(client, f"/items/{item['id']}"))["price"] == given


@pytest.mark.parametrize(
    "sent", ["0.001", "1e-3", "-0.01", "true", "[]", '""', '"1,50"', '"1_0"', '" 1 "', '"\uff11"']
)
async def test_what_is_not_an_amount_is_422(client: AsyncClient, sent: str) -> None:
    content = f'{{"name": "thing", "price": {sent}}}'

    response = await client.post(f"{API}/items", content=content, headers=JSON)

    assert wrong_fields(response) == ["body.price"]


async def test_money_is_exact_where_floats_are_not(client: AsyncClient) -> None:
    ada = await create_user(client, balance=0.3)
    bob = await create_user(client, balance="999999999999.69")

    created(await transfer(client, ada, bob, "0.1"))
    made = created(await transfer(client, ada, bob, "0.2"))

    assert (made["from_balance"], made["to_balance"]) == ("0.00", "999999999999.99")
    assert (await get(client, f"/users/{bob['id']}"))["balance"] == "999999999999.99"


async def test_fraction_too_small_for_a_float_is_still_a_fraction(client: AsyncClient) -> None:
    for price in ("1.00000000000000000001", "9999999999.99000000000000000001"):
        content = f'{{"name": "thing", "price": {price}}}'
        response = await client.post(f"{API}/items", content=content, headers=JSON)
        assert wrong_fields(response) == ["body.price"]


# Times


async def test_times_are_utc_with_offset(client: AsyncClient) -> None:
    ada, bob = await create_user(client, balance="1.00"), await create_user(client)
    item = await create_item(client)
    made = created(await transfer(client, ada, bob, "1.00"))

    for path in (f"/users/{ada['id']}", f"/items/{item['id']}", f"/transfers/{made['id']}"):
        time = datetime.fromisoformat((await get(client, path))["created_at"])
        assert time.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - time) < timedelta(minutes=1)


# Ids


@pytest.mark.parametrize(("method", "path"), ONE)
async def test_id_that_no_column_can_hold_is_422(
    client: AsyncClient, method: str, path: str
) -> None:
    for wrong in (LARGEST + 1, SMALLEST - 1, 10**400, "x", "1.5", "true"):
        response = await client.request(method, API + path.format(id=wrong), json={})
        assert [field.partition(".")[0] for field in wrong_fields(response)] == ["path"]


@pytest.mark.parametrize(("method", "path"), ONE)
async def test_id_that_nothing_has_is_404(client: AsyncClient, method: str, path: str) -> None:
    for absent in (LARGEST, SMALLEST, ABSENT, 0, -1):
        response = await client.request(method, API + path.format(id=absent), json={})
        assert_problem(response, 404)


# Lists


@pytest.mark.parametrize("path", LISTS)
async def test_pages_ascend_by_id_and_the_last_has_no_next(
    client: AsyncClient, owner: Json, path: str
) -> None:
    path = path.format(user=owner["id"])
    everything = (await get(client, path))["items"]
    ids = [item["id"] for item in everything]

    assert len(ids) == 5
    assert ids == sorted(ids)
    for limit in (1, 2, 1000):
        assert await walk(client, path, limit) == everything
    assert re.fullmatch(r"[A-Za-z0-9_-]+", (await get(client, path, limit=4))["next"])
    # The last page ends with the list, even where it is full.
    assert await get(client, path, limit=5) == {"items": everything, "next": None}


@pytest.mark.parametrize("path", LISTS)
async def test_inserts_and_deletes_between_pages_shift_no_rows(
    client: AsyncClient, owner: Json, path: str
) -> None:
    path = path.format(user=owner["id"])
    before = await walk(client, path)
    first = await get(client, path, limit=2)
    # One that was read goes, one that will be read goes, and new ones come.
    for gone in (before[1], before[3]):
        kind = "users" if path == "/users" else "items"
        assert (await client.delete(f"{API}/{kind}/{gone['id']}")).status_code == 204
    await grow(client, owner)

    rest = (await get(client, path, after=first["next"]))["items"]

    assert rest[:2] == [before[2], before[4]]
    assert len(rest) == 3


@pytest.mark.parametrize("path", LISTS)
async def test_limit_is_one_to_a_thousand(client: AsyncClient, owner: Json, path: str) -> None:
    path = path.format(user=owner["id"])

    for limit in (0, 1001, 10**30, "", "1.5"):
        response = await client.get(API + path, params={"limit": limit})
        assert wrong_fields(response) == ["query.limit"]


async def test_page_has_fifty_by_default(client: AsyncClient) -> None:
    rows = [{"name": "thing", "price": "1.00"}] * 51
    created(await client.post(f"{API}/items/bulk", json=rows))

    assert len((await get(client, "/items"))["items"]) == 50


@pytest.mark.parametrize("path", LISTS)
async def test_cursor_that_is_not_ours_is_422(client: AsyncClient, owner: Json, path: str) -> None:
    path = path.format(user=owner["id"])
    cursor = (await get(client, path, limit=1))["next"]

    for wrong in ("", "1", "x" * 16, cursor[:-1], cursor + "A", cursor.swapcase()):
        assert_problem(await client.get(API + path, params={"after": wrong}), 422)


@pytest.mark.parametrize("path", ["/users/{user}/items", "/users/{user}/favorites"])
async def test_list_of_an_absent_user_is_404_on_every_page(
    client: AsyncClient, owner: Json, path: str
) -> None:
    cursor = (await get(client, path.format(user=owner["id"]), limit=1))["next"]

    for params in ({}, {"after": cursor}):
        assert_problem(await client.get(API + path.format(user=ABSENT), params=params), 404)


# Errors


@pytest.mark.parametrize("path", ["/", "/api/v1", "/api/v1/things", "/api/v2/users", "/users"])
async def test_unknown_path_is_404(client: AsyncClient, path: str) -> None:
    assert_problem(await client.get(path), 404)


@pytest.mark.parametrize("path", ["/users", "/users/1", "/items", "/items/bulk", "/transfers"])
async def test_slash_at_the_end_makes_another_path(client: AsyncClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert_problem(await client.request(method, f"{API}{path}/", json={}), 404)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/users", "GET, POST"),
        ("/users/1", "DELETE, GET, PATCH"),
        ("/users/1/items", "GET"),
        ("/users/1/favorites", "GET"),
        ("/users/1/favorites/1", "DELETE, PUT"),
        ("/items", "GET, POST"),
        ("/items/1", "DELETE, GET, PATCH"),
        ("/transfers", "POST"),
        ("/transfers/1", "GET"),
    ],
)
async def test_wrong_method_is_405_with_the_allowed_ones(
    client: AsyncClient, path: str, allowed: str
) -> None:
    for method in {"DELETE", "PATCH", "POST", "PUT", "OPTIONS"} - set(allowed.split(", ")):
        response = await client.request(method, API + path)
        assert_problem(response, 405)
        assert response.headers["Allow"] == allowed


async def test_broken_json_is_422(client: AsyncClient) -> None:
    response = await client.post(f"{API}/users", content="{", headers=JSON)

    assert wrong_fields(response) == ["body"]


async def test_responses_never_quote_invalid_input(client: AsyncClient) -> None:
    secret = "correct-horse-battery-staple"
    responses = [
        await client.post(f"{API}/users", json={"username": secret * 9, "email": secret}),
        await client.post(f"{API}/items", json={"name": secret, "price": secret}),
        await client.get(f"{API}/users/{secret}"),
        await client.get(f"{API}/users", params={"after": secret, "limit": secret}),
        await client.get(f"/{secret}"),
    ]

    for response in responses:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert secret not in response.text


async def test_limit_of_bytes_comes_before_the_limit_of_rows(own_url: str) -> None:
    rows = [{"name": "thing", "price": "1.00"}] * 10_001
    async with (
        running_app(make_settings(own_url, max_body_bytes=1000)) as app,
        client_of(app) as client,
    ):
        assert_problem(await client.post(f"{API}/items/bulk", json=rows), 413)
        assert created(await client.post(f"{API}/items/bulk", json=rows[:10])) == {"created": 10}
