"""Streams and WebSockets, which outlive a transaction and have sessions of their own."""

from fastapi import FastAPI
from httpx2 import AsyncClient
from starlette.testclient import TestClient

from app.kit.db import Database
from app.main import create_app
from tests.kit.fixtures import make_settings

URL = "/api/v1/messages"


async def send(client: AsyncClient, *texts: str) -> list[int]:
    return [(await client.post(URL, json={"text": text})).json()["id"] for text in texts]


async def test_events_are_streamed(client: AsyncClient) -> None:
    first, second, third = await send(client, "one", "two", "three")

    response = await client.get(f"{URL}/events", params={"after": first})

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    events = [block.splitlines() for block in response.text.strip().split("\n\n")]
    assert [sorted(event) for event in events] == [
        ['data: "two"', f"id: {second}"],
        ['data: "three"', f"id: {third}"],
    ]


async def test_export_has_every_row(client: AsyncClient) -> None:
    texts = [f"message {number}" for number in range(7)]
    await send(client, *texts)

    response = await client.get(f"{URL}/export", params={"page": 3})

    assert response.text.splitlines() == texts


async def test_streams_return_their_connections(
    live_app: FastAPI, live_client: AsyncClient
) -> None:
    await send(live_client, "one", "two")
    database: Database = live_app.state.database

    for _ in range(database.settings.database_pool_size + 20):
        await live_client.get(f"{URL}/events")
        await live_client.get(f"{URL}/export")

    assert [queue.in_use for _, _, queue in database.pools] == [0, 0]


def test_socket_has_sessions_of_its_own(own_url: str) -> None:
    with TestClient(create_app(make_settings(own_url))) as client:
        with client.websocket_connect(f"{URL}/socket") as socket:
            ids = []
            for text in ("one", "two"):
                socket.send_text(text)
                ids.append(socket.receive_json()["id"])
        exported = client.get(f"{URL}/export")

    assert ids[0] < ids[1]
    assert exported.text.splitlines() == ["one", "two"]
