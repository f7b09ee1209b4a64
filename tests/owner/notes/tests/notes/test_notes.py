"""Notes: the feature that README.md adds."""

from typing import Any

from httpx2 import AsyncClient

URL = "/api/v1/notes"


async def create(client: AsyncClient, text: str) -> Any:
    created = await client.post(URL, json={"text": text})
    assert created.status_code == 201
    return created.json()


async def test_created_note_can_be_read(client: AsyncClient) -> None:
    note = await create(client, "Buy milk.")

    assert note["text"] == "Buy milk."
    assert (await client.get(f"{URL}/{note['id']}")).json() == note
    assert (await client.get(f"{URL}/{note['id'] + 1}")).status_code == 404


async def test_note_without_text_is_refused(client: AsyncClient) -> None:
    refused = await client.post(URL, json={"text": ""})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["body.text"]


async def test_pages_hold_every_note_once_newest_first(client: AsyncClient) -> None:
    notes = [await create(client, f"note {number}") for number in range(5)]

    first = (await client.get(URL, params={"limit": 2})).json()
    second = (await client.get(URL, params={"limit": 2, "after": first["next"]})).json()
    third = (await client.get(URL, params={"limit": 2, "after": second["next"]})).json()

    assert first["items"] + second["items"] + third["items"] == notes[::-1]
    assert third["next"] is None


async def test_notes_are_found_by_text(client: AsyncClient) -> None:
    milk, _, tea = [await create(client, text) for text in ("Buy milk.", "Read 100%.", "Buy tea.")]

    found = (await client.get(URL, params={"text": "Buy"})).json()
    literal = (await client.get(URL, params={"text": "1%"})).json()

    assert (found["items"], literal["items"]) == ([tea, milk], [])
