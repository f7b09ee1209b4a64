"""Favorites: liked once, however often it is said."""

import asyncio

import pytest
from httpx2 import AsyncClient

from tests.example.api import ABSENT, API, assert_problem, create_item, create_user, get, walk


async def test_liked_items_are_listed_in_the_order_of_their_ids(client: AsyncClient) -> None:
    user, other = await create_user(client), await create_user(client)
    items = [await create_item(client, user_id=other["id"]) for _ in range(3)]
    url = f"{API}/users/{user['id']}/favorites"

    for item in reversed(items):
        response = await client.put(f"{url}/{item['id']}")
        assert (response.status_code, response.content) == (204, b"")

    assert await walk(client, f"/users/{user['id']}/favorites", limit=2) == items
    assert await walk(client, f"/users/{other['id']}/favorites") == []


async def test_adding_a_favorite_is_idempotent(client: AsyncClient) -> None:
    user, item = await create_user(client), await create_item(client)
    url = f"{API}/users/{user['id']}/favorites/{item['id']}"

    statuses = [(await client.put(url)).status_code for _ in range(3)]

    assert statuses == [204, 204, 204]
    assert await walk(client, f"/users/{user['id']}/favorites") == [item]


async def test_removing_a_favorite_is_idempotent(client: AsyncClient) -> None:
    user, item = await create_user(client), await create_item(client)
    url = f"{API}/users/{user['id']}/favorites/{item['id']}"
    await client.put(url)

    statuses = [(await client.delete(url)).status_code for _ in range(3)]

    assert statuses == [204, 204, 204]
    assert await get(client, f"/users/{user['id']}/favorites") == {"items": [], "next": None}
    assert await get(client, f"/items/{item['id']}") == item


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_favorite_of_an_absent_user_or_item_is_404(client: AsyncClient, method: str) -> None:
    user, item = await create_user(client), await create_item(client)

    for user_id, item_id in ((ABSENT, item["id"]), (user["id"], ABSENT), (ABSENT, ABSENT)):
        url = f"{API}/users/{user_id}/favorites/{item_id}"
        assert_problem(await client.request(method, url), 404)


async def test_equal_likes_at_the_same_time_are_one(live_client: AsyncClient) -> None:
    user, item = await create_user(live_client), await create_item(live_client)
    url = f"{API}/users/{user['id']}/favorites/{item['id']}"

    responses = await asyncio.gather(*(live_client.put(url) for _ in range(20)))

    assert {response.status_code for response in responses} == {204}
    assert await walk(live_client, f"/users/{user['id']}/favorites") == [item]


async def test_likes_and_dislikes_at_the_same_time_leave_one_or_none(
    live_client: AsyncClient,
) -> None:
    user, item = await create_user(live_client), await create_item(live_client)
    url = f"{API}/users/{user['id']}/favorites/{item['id']}"

    responses = await asyncio.gather(
        *(live_client.request(method, url) for method in ["PUT", "DELETE"] * 10)
    )

    assert {response.status_code for response in responses} == {204}
    assert await walk(live_client, f"/users/{user['id']}/favorites") in ([], [item])
