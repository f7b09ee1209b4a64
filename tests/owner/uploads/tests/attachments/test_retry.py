"""An upload whose transaction is run again is stored as it was sent."""

from typing import Any

from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

URL = "/api/v1/attachments"


async def test_repeated_upload_is_complete(live_app: FastAPI, live_client: AsyncClient) -> None:
    engine = live_app.state.database.writer.sync_engine
    inserts = 0

    def fail_once(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        nonlocal inserts
        if "INTO attachments" in statement:
            inserts += 1
            if inserts == 1:
                lost = ConnectionResetError()
                raise OperationalError(statement, {}, lost, connection_invalidated=True)

    event.listen(engine, "before_cursor_execute", fail_once)
    content = bytes(1000)
    created = await live_client.post(URL, files={"file": ("a", content)})
    assert (created.status_code, inserts) == (201, 2)

    downloaded = await live_client.get(f"{URL}/{created.json()['id']}/content")

    assert created.json()["size"] == 1000
    assert downloaded.content == content


async def test_repeated_upload_with_an_idempotency_key_is_the_same(
    live_client: AsyncClient,
) -> None:
    key = {"Idempotency-Key": "1"}

    # Each has another boundary between its parts.
    first = await live_client.post(URL, files={"file": ("a", b"abc")}, headers=key)
    again = await live_client.post(URL, files={"file": ("a", b"abc")}, headers=key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
