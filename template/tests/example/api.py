"""Short ways to the API, for tests that need something to be there."""

from itertools import count
from typing import Any

from httpx2 import AsyncClient, Response

API = "/api/v1"
# Ids that nothing has, and the largest and smallest that a column can hold.
ABSENT, LARGEST, SMALLEST = 10**15, 2**63 - 1, -(2**63)

Json = dict[str, Any]

_numbers = count(1)


async def create_user(client: AsyncClient, **values: Any) -> Json:
    """A new user, with a name of its own unless `values` have one."""
    name = f"user{next(_numbers)}"
    body = {"username": name, "email": f"{name}@example.org", **values}
    return created(await client.post(f"{API}/users", json=body))


async def create_item(client: AsyncClient, **values: Any) -> Json:
    """A new item."""
    body = {"name": "thing", "price": "1.00", **values}
    return created(await client.post(f"{API}/items", json=body))


async def transfer(
    client: AsyncClient, sender: Json, receiver: Json, amount: str | int
) -> Response:
    """The response to a transfer between two users."""
    body = {"from_user_id": sender["id"], "to_user_id": receiver["id"], "amount": amount}
    return await client.post(f"{API}/transfers", json=body)


async def get(client: AsyncClient, path: str, **params: Any) -> Json:
    """The response to a GET that must succeed."""
    response = await client.get(f"{API}{path}", params=params)
    assert response.status_code == 200, response.text
    body: Json = response.json()
    return body


async def walk(client: AsyncClient, path: str, limit: int = 1000) -> list[Json]:
    """Everything in a list, page by page."""
    page = await get(client, path, limit=limit)
    items: list[Json] = page["items"]
    while page["next"] is not None:
        page = await get(client, path, limit=limit, after=page["next"])
        # Otherwise this might never end.
        assert page["items"][0]["id"] > items[-1]["id"]
        items += page["items"]
    return items


def created(response: Response) -> Json:
    """The body of a response that must be 201."""
    assert response.status_code == 201, response.text
    body: Json = response.json()
    return body


def assert_problem(response: Response, status: int) -> Json:
    """Check that a response is a problem with this status, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: Json = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= body.keys()
    return body


def wrong_fields(response: Response) -> list[str]:
    """The fields that a 422 complains about."""
    return [error["field"] for error in assert_problem(response, 422)["errors"]]
