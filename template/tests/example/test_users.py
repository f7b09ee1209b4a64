"""Users: created, read, changed and deleted, with names that are theirs alone."""

import asyncio
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.example.api import (
    ABSENT,
    API,
    assert_problem,
    create_item,
    create_user,
    get,
    walk,
    wrong_fields,
)

URL = f"{API}/users"
ADA = {"username": "ada", "email": "ada@example.org"}


async def test_user_is_stored_as_created(client: AsyncClient) -> None:
    user = await create_user(client, **ADA, balance="12.50")

    assert user.keys() == {"id", "username", "email", "balance", "created_at"}
    assert (user["username"], user["email"], user["balance"]) == (*ADA.values(), "12.50")
    assert await get(client, f"/users/{user['id']}") == user
    assert user in await walk(client, "/users")


async def test_user_begins_with_an_empty_balance(client: AsyncClient) -> None:
    assert (await create_user(client))["balance"] == "0.00"


async def test_patch_changes_what_is_sent_and_nothing_else(client: AsyncClient) -> None:
    user = await create_user(client, balance="5.00")

    response = await client.patch(f"{URL}/{user['id']}", json={"email": "new@example.org"})

    assert response.status_code == 200
    assert response.json() == {**user, "email": "new@example.org"}
    assert await get(client, f"/users/{user['id']}") == response.json()


async def test_patch_of_nothing_changes_nothing(client: AsyncClient) -> None:
    user = await create_user(client)

    assert (await client.patch(f"{URL}/{user['id']}", json={})).json() == user


async def test_patch_to_the_present_values_is_no_conflict(client: AsyncClient) -> None:
    user = await create_user(client, **ADA)

    assert (await client.patch(f"{URL}/{user['id']}", json=ADA)).json() == user


async def test_balance_is_changed_by_transfers_alone(client: AsyncClient) -> None:
    user = await create_user(client, balance="5.00")

    response = await client.patch(f"{URL}/{user['id']}", json={"balance": "1000000.00"})

    assert response.json() == user


async def test_deleted_user_is_gone(client: AsyncClient) -> None:
    url = f"{URL}/{(await create_user(client))['id']}"

    response = await client.delete(url)

    assert (response.status_code, response.content) == (204, b"")
    for again in (client.get(url), client.patch(url, json={}), client.delete(url)):
        assert_problem(await again, 404)


async def test_id_of_a_deleted_user_is_not_reused(client: AsyncClient) -> None:
    user = await create_user(client)
    await client.delete(f"{URL}/{user['id']}")

    assert (await create_user(client))["id"] > user["id"]


async def test_items_and_favorites_of_a_user_go_with_it(client: AsyncClient) -> None:
    user, other = await create_user(client), await create_user(client)
    own = await create_item(client, user_id=user["id"])
    foreign = await create_item(client, user_id=other["id"])
    await client.put(f"{URL}/{user['id']}/favorites/{foreign['id']}")
    await client.put(f"{URL}/{other['id']}/favorites/{own['id']}")

    assert (await client.delete(f"{URL}/{user['id']}")).status_code == 204

    assert_problem(await client.get(f"{API}/items/{own['id']}"), 404)
    assert await get(client, f"/items/{foreign['id']}") == foreign
    assert await walk(client, f"/users/{other['id']}/favorites") == []


@pytest.mark.parametrize("field", ["username", "email"])
async def test_taken_name_is_a_conflict_that_says_which(client: AsyncClient, field: str) -> None:
    user, other = await create_user(client), await create_user(client)

    created = await client.post(URL, json={**ADA, field: user[field]})
    changed = await client.patch(f"{URL}/{other['id']}", json={field: user[field]})

    for response in (created, changed):
        detail = assert_problem(response, 409)["detail"]
        assert field in detail
        assert user[field] not in detail
    assert await walk(client, "/users") == [user, other]


async def test_names_that_differ_in_case_are_different(client: AsyncClient) -> None:
    small = await create_user(client, username="ada", email="ada@example.org")
    large = await create_user(client, username="Ada", email="Ada@Example.org")

    assert [user["username"] for user in (small, large)] == ["ada", "Ada"]
    assert [user["email"] for user in (small, large)] == ["ada@example.org", "Ada@Example.org"]


@pytest.mark.parametrize("username", ["a", "ä" * 50, "😀" * 50, "robert'); DROP TABLE users;--"])
async def test_any_text_of_the_right_length_is_a_username(
    client: AsyncClient, username: str
) -> None:
    user = await create_user(client, username=username)

    assert (await get(client, f"/users/{user['id']}"))["username"] == username


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", ""),
        ("username", "x" * 51),
        ("username", None),
        ("username", 1),
        ("email", ""),
        ("email", "ada"),
        ("email", "ada@"),
        ("email", "a da@example.org"),
        ("email", "ada@example.org\n"),
        ("email", "x" * 250 + "@x.de"),
        ("email", None),
        ("balance", "-0.01"),
        ("balance", "0.001"),
        ("balance", "1000000000000.00"),
        ("balance", None),
    ],
)
async def test_invalid_field_is_422_and_named(client: AsyncClient, field: str, value: Any) -> None:
    user = await create_user(client)

    created = await client.post(URL, json={**ADA, field: value})
    assert wrong_fields(created) == [f"body.{field}"]

    if field != "balance":
        changed = await client.patch(f"{URL}/{user['id']}", json={field: value})
        assert wrong_fields(changed) == [f"body.{field}"]
    assert await walk(client, "/users") == [user]


async def test_missing_fields_are_all_named(client: AsyncClient) -> None:
    assert wrong_fields(await client.post(URL, json={})) == ["body.username", "body.email"]


async def test_absent_user_is_404(client: AsyncClient) -> None:
    url = f"{URL}/{ABSENT}"
    for response in (client.get(url), client.patch(url, json=ADA), client.delete(url)):
        assert_problem(await response, 404)


async def test_change_that_loses_against_a_deletion_is_404(live_client: AsyncClient) -> None:
    for number in range(5):
        user = await create_user(live_client)
        path = f"{API}/users/{user['id']}"

        responses = await asyncio.gather(
            *(live_client.patch(path, json={"username": f"changed {number}"}) for _ in range(4)),
            *(live_client.delete(path) for _ in range(4)),
            *(live_client.patch(path, json={"username": f"again {number}"}) for _ in range(4)),
        )

        changes = [*responses[:4], *responses[8:]]
        assert {response.status_code for response in changes} <= {200, 404}
        assert sorted(response.status_code for response in responses[4:8]) == [204, 404, 404, 404]
