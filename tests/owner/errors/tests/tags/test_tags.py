"""Errors: of the domain, of HTTP, and of the database."""

import asyncio

from httpx2 import AsyncClient

URL = "/api/v1/tags"


async def create(client: AsyncClient, name: str, locked: bool = False) -> int:
    created = await client.post(URL, json={"name": name, "locked": locked})
    assert created.status_code == 201
    tag_id: int = created.json()["id"]
    return tag_id


async def test_domain_error_has_its_own_status(client: AsyncClient) -> None:
    tag_id = await create(client, "law", locked=True)

    refused = await client.delete(f"{URL}/{tag_id}")

    assert refused.status_code == 403
    assert refused.headers["Content-Type"] == "application/problem+json"
    problem = refused.json()
    assert (problem["title"], problem["status"]) == ("Forbidden", 403)
    assert problem["detail"] == "The tag law is locked."
    assert (await client.get(f"{URL}/{tag_id}")).status_code == 200


async def test_http_exception_keeps_its_headers(client: AsyncClient) -> None:
    tag_id = await create(client, "old")
    assert (await client.delete(f"{URL}/{tag_id}")).status_code == 204

    gone = await client.get(f"{URL}/{tag_id}")

    assert (gone.status_code, gone.json()["detail"]) == (410, "Gone")
    assert gone.headers["Cache-Control"] == "max-age=60"


async def test_duplicate_is_a_conflict_that_names_the_column(client: AsyncClient) -> None:
    await create(client, "blue")

    refused = await client.post(URL, json={"name": "blue"})

    assert refused.status_code == 409
    assert "name" in refused.json()["detail"]


async def test_database_error_inside_a_savepoint_may_be_caught(client: AsyncClient) -> None:
    blue = await create(client, "blue")

    ensured = await client.put(URL, json={"names": ["red", "blue", "green", "red"]})

    assert ensured.status_code == 200
    tags = ensured.json()
    assert [tag["name"] for tag in tags] == ["red", "blue", "green", "red"]
    assert tags[1]["id"] == blue
    assert tags[0] == tags[3]
    assert (await client.get(f"{URL}/{tags[2]['id']}")).json() == tags[2]


async def test_many_may_ensure_the_same_tags_at_once(live_client: AsyncClient) -> None:
    names = {"names": ["red", "green"]}

    ensured = await asyncio.gather(*(live_client.put(URL, json=names) for _ in range(5)))

    assert [response.status_code for response in ensured] == [200] * 5
    assert len({response.text for response in ensured}) == 1
