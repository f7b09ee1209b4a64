"""Many kinds of columns: each is stored, read and changed."""

from typing import Any
from uuid import uuid4

import pytest
from httpx2 import AsyncClient

API = "/api/v1"
URL = f"{API}/documents"
FULL: dict[str, Any] = {
    "title": "On tests",
    "status": "in review",
    "facts": {"pages": 3, "tags": ["a", "ä"], "by": {"name": None, "known": True}},
    "published_on": "2026-11-28",
    "reading_time": "PT1H30M",
}


async def create(client: AsyncClient, **values: Any) -> dict[str, Any]:
    created = await client.post(URL, json={"title": "On tests", **values})
    assert created.status_code == 201, created.text
    document: dict[str, Any] = created.json()
    return document


async def create_folder(client: AsyncClient, name: str, parent_id: int | None = None) -> Any:
    created = await client.post(f"{API}/folders", json={"name": name, "parent_id": parent_id})
    assert created.status_code == 201
    return created.json()


async def test_document_is_stored_as_created(client: AsyncClient) -> None:
    folder = await create_folder(client, "Papers")
    document = await create(client, **FULL, folder_id=folder["id"])

    assert {name: document[name] for name in FULL} == FULL
    assert document["created_at"] <= document["updated_at"]
    assert (await client.get(f"{URL}/{document['id']}")).json() == document


async def test_what_is_left_out_has_its_default(client: AsyncClient) -> None:
    document = await create(client)

    assert (document["status"], document["facts"]) == ("draft", {})
    assert (document["published_on"], document["reading_time"]) == (None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "published"},
        {"facts": {"pages": 4}},
        {"published_on": None},
        {"reading_time": "PT2M"},
        {"title": "New", "reading_time": None},
    ],
    ids=lambda change: "-".join(change),
)
async def test_change_leaves_the_rest(client: AsyncClient, change: dict[str, Any]) -> None:
    document = await create(client, **FULL)

    changed = await client.patch(f"{URL}/{document['id']}", json=change)

    assert changed.status_code == 200
    updated_at = changed.json()["updated_at"]
    assert updated_at > document["updated_at"]
    assert changed.json() == {**document, **change, "updated_at": updated_at}
    assert (await client.get(f"{URL}/{document['id']}")).json() == changed.json()


async def test_change_of_nothing_changes_nothing(client: AsyncClient) -> None:
    document = await create(client, **FULL)

    changed = await client.patch(f"{URL}/{document['id']}", json={})

    assert changed.json() == document


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "lost"),
        ("status", None),
        ("title", None),
        ("facts", []),
        ("published_on", "2026-02-30"),
        ("reading_time", "long"),
        ("folder_id", "1"),
    ],
)
async def test_invalid_value_is_named(client: AsyncClient, field: str, value: Any) -> None:
    document = await create(client)

    refused = await client.patch(f"{URL}/{document['id']}", json={field: value})

    assert refused.status_code == 422
    assert {error["field"] for error in refused.json()["errors"]} == {f"body.{field}"}


async def test_list_is_newest_first_and_may_be_filtered(client: AsyncClient) -> None:
    folder = await create_folder(client, "Papers")
    documents = [
        await create(client, title=f"{number}", status=status, folder_id=folder_id)
        for number, (status, folder_id) in enumerate(
            [("draft", None), ("published", folder["id"]), ("draft", folder["id"])] * 2
        )
    ]

    async def pages(**query: Any) -> list[Any]:
        found: list[Any] = []
        after: dict[str, str] = {}
        while True:
            page = (await client.get(URL, params={"limit": "2", **query, **after})).json()
            found += page["items"]
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    newest_first = documents[::-1]
    assert await pages() == newest_first
    drafts = [each for each in newest_first if each["status"] == "draft"]
    assert await pages(status="draft") == drafts
    in_folder = [each for each in newest_first if each["folder_id"]]
    assert await pages(folder_id=str(folder["id"])) == in_folder
    assert await pages(status="in review") == []


async def test_missing_document(client: AsyncClient) -> None:
    url = f"{URL}/{uuid4()}"

    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={})).status_code == 404
    assert (await client.get(f"{URL}/1")).status_code == 422


async def test_folders_lie_in_folders(client: AsyncClient) -> None:
    papers = await create_folder(client, "Papers")
    drafts = await create_folder(client, "Drafts", papers["id"])
    old = await create_folder(client, "Old")

    moved = await client.put(
        f"{API}/folders/{old['id']}", json={"name": "Ancient", "parent_id": papers["id"]}
    )
    found = await client.get(f"{API}/folders/{papers['id']}")

    assert moved.status_code == 200
    assert found.json() == {**papers, "children": [moved.json(), drafts]}


async def test_folder_in_a_missing_one_is_refused(client: AsyncClient) -> None:
    refused = await client.post(f"{API}/folders", json={"name": "Lost", "parent_id": 404})

    assert refused.status_code == 409


async def test_value_that_the_database_sets_is_in_the_response(client: AsyncClient) -> None:
    folder = await create_folder(client, "Papers")
    url = f"{API}/folders/{folder['id']}"

    changed = await client.put(url, json={"name": "Books"})

    assert changed.status_code == 200
    assert changed.json()["changed_at"] >= folder["changed_at"]
    read = (await client.get(url)).json()
    assert read == {**changed.json(), "children": []}
