"""Items: with or without an owner, one by one or ten thousand at a time."""

from typing import Any

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select

from app.example.items.models import Item
from app.kit.db import Database
from tests.example.api import (
    ABSENT,
    API,
    Json,
    assert_problem,
    create_item,
    create_user,
    get,
    walk,
    wrong_fields,
)

URL = f"{API}/items"
ROW = {"name": "thing", "price": "1.00"}


async def test_item_is_stored_as_created(client: AsyncClient) -> None:
    user = await create_user(client)
    item = await create_item(
        client, name="Lamp", description="Bright.", price="19.99", user_id=user["id"]
    )

    assert item.keys() == {"id", "name", "description", "price", "created_at", "user_id"}
    assert (item["name"], item["description"], item["price"]) == ("Lamp", "Bright.", "19.99")
    assert item["user_id"] == user["id"]
    assert await get(client, f"/items/{item['id']}") == item
    assert item in await walk(client, "/items")


async def test_description_and_owner_may_be_left_out(client: AsyncClient) -> None:
    item = await create_item(client)

    assert (item["description"], item["user_id"]) == (None, None)


async def test_items_of_a_user_are_only_those(client: AsyncClient) -> None:
    user, other = await create_user(client), await create_user(client)
    items = [await create_item(client, user_id=user["id"]) for _ in range(3)]
    await create_item(client, user_id=other["id"])
    await create_item(client)

    assert await walk(client, f"/users/{user['id']}/items", limit=2) == items


async def test_user_without_items_has_an_empty_list(client: AsyncClient) -> None:
    user = await create_user(client)

    assert await get(client, f"/users/{user['id']}/items") == {"items": [], "next": None}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"description": "other"},
        {"description": None},
        {"price": "2.50"},
        {"user_id": None},
        {"name": "other", "description": None, "price": "0.00", "user_id": None},
        {},
    ],
    ids=str,
)
async def test_patch_changes_what_is_sent_and_nothing_else(
    client: AsyncClient, change: Json
) -> None:
    user = await create_user(client)
    item = await create_item(client, description="first", user_id=user["id"])

    response = await client.patch(f"{URL}/{item['id']}", json=change)

    assert response.status_code == 200
    assert response.json() == {**item, **change}
    assert await get(client, f"/items/{item['id']}") == response.json()


async def test_item_moves_to_another_user(client: AsyncClient) -> None:
    first, second = await create_user(client), await create_user(client)
    item = await create_item(client, user_id=first["id"])

    await client.patch(f"{URL}/{item['id']}", json={"user_id": second["id"]})

    assert await walk(client, f"/users/{first['id']}/items") == []
    assert len(await walk(client, f"/users/{second['id']}/items")) == 1


async def test_deleted_item_is_gone_and_no_favorite_any_more(client: AsyncClient) -> None:
    user, item = await create_user(client), await create_item(client)
    await client.put(f"{API}/users/{user['id']}/favorites/{item['id']}")

    response = await client.delete(f"{URL}/{item['id']}")

    assert (response.status_code, response.content) == (204, b"")
    assert_problem(await client.delete(f"{URL}/{item['id']}"), 404)
    assert_problem(await client.get(f"{URL}/{item['id']}"), 404)
    assert await walk(client, f"/users/{user['id']}/favorites") == []


async def test_item_for_an_absent_user_is_a_conflict(client: AsyncClient) -> None:
    item = await create_item(client)

    assert_problem(await client.post(URL, json={**ROW, "user_id": ABSENT}), 409)
    assert_problem(await client.patch(f"{URL}/{item['id']}", json={"user_id": ABSENT}), 409)

    assert await walk(client, "/items") == [item]


async def test_absent_item_is_404(client: AsyncClient) -> None:
    url = f"{URL}/{ABSENT}"
    for response in (client.get(url), client.patch(url, json=ROW), client.delete(url)):
        assert_problem(await response, 404)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("name", None),
        ("description", "x" * 10_001),
        ("description", 1),
        ("price", "-0.01"),
        ("price", "0.001"),
        ("price", "10000000000.00"),
        ("price", None),
        ("user_id", True),
        ("user_id", "1"),
        ("user_id", 1.5),
        ("user_id", 2**63),
    ],
)
async def test_invalid_field_is_422_and_named(client: AsyncClient, field: str, value: Any) -> None:
    item = await create_item(client)

    for response in (
        await client.post(URL, json={**ROW, field: value}),
        await client.patch(f"{URL}/{item['id']}", json={field: value}),
    ):
        assert wrong_fields(response) == [f"body.{field}"]
    assert await walk(client, "/items") == [item]


async def test_ten_thousand_items_are_created_at_once(
    client: AsyncClient, database: Database
) -> None:
    user = await create_user(client)
    rows: list[Json] = [{"name": f"thing {n}", "price": f"{n}.{n % 100:02}"} for n in range(10_000)]
    rows[5000]["user_id"] = user["id"]

    response = await client.post(f"{URL}/bulk", json=rows)

    assert (response.status_code, response.json()) == (201, {"created": 10_000})
    # Their order is not promised, their number and content are.
    async with database.read() as session:
        stored = await session.execute(select(Item.name, Item.price, Item.user_id))
        found = {name: (str(price), user_id) for name, price, user_id in stored}
    assert found == {row["name"]: (row["price"], row.get("user_id")) for row in rows}


async def test_bulk_of_nothing_creates_nothing(client: AsyncClient) -> None:
    response = await client.post(f"{URL}/bulk", json=[])

    assert (response.status_code, response.json()) == (201, {"created": 0})
    assert await walk(client, "/items") == []


async def test_one_item_too_many_is_422_and_stores_nothing(client: AsyncClient) -> None:
    response = await client.post(f"{URL}/bulk", json=[ROW] * 10_001)

    assert wrong_fields(response) == ["body"]
    assert await walk(client, "/items") == []


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"price": "-1.00"}, 422),
        ({"name": "\x00"}, 422),
        ({"user_id": 2**63}, 422),
        ({"user_id": ABSENT}, 409),
    ],
    ids=str,
)
async def test_one_wrong_row_stores_none(client: AsyncClient, wrong: Json, status: int) -> None:
    rows = [ROW] * 20
    rows[13] = {**ROW, **wrong}

    response = await client.post(f"{URL}/bulk", json=rows)

    problem = assert_problem(response, status)
    if status == 422:
        assert [error["field"] for error in problem["errors"]] == [f"body.13.{next(iter(wrong))}"]
    assert await walk(client, "/items") == []


async def test_only_the_first_hundred_errors_are_listed(client: AsyncClient) -> None:
    assert len(wrong_fields(await client.post(f"{URL}/bulk", json=[{}] * 200))) == 100
