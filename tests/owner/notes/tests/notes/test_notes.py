"""Notes: the feature that README.md adds."""

from typing import Any

from httpx2 import AsyncClient

URL = "/api/v1/notes"


async def test_note_is_listed_after_it_was_created(client: AsyncClient) -> None:
    created = await client.post(URL, json={"text": "Buy milk."})
    listed = await client.get(URL)

    assert created.status_code == 201
    assert created.json() in listed.json()["items"]


async def test_note_can_be_read(client: AsyncClient) -> None:
    note = (await client.post(URL, json={"text": "Buy milk."})).json()

    assert (await client.get(f"{URL}/{note['id']}")).json() == note
    assert (await client.get(f"{URL}/{note['id'] + 1}")).status_code == 404


async def test_note_without_text_is_refused(client: AsyncClient) -> None:
    refused = await client.post(URL, json={"text": ""})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["body.text"]


async def test_pages_hold_every_note_once(client: AsyncClient) -> None:
    notes = [(await client.post(URL, json={"text": str(n)})).json() for n in range(5)]

    found: list[Any] = []
    cursor: dict[str, str] = {}
    while cursor or not found:
        page = (await client.get(URL, params={"limit": "2", **cursor})).json()
        found += page["items"]
        cursor = {"after": page["next"]} if page["next"] else {}
    assert found == notes
