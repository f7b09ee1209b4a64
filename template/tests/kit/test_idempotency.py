"""`Idempotency-Key`: a POST that is retried with the same key takes effect once."""

import asyncio
from datetime import timedelta

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from httpx2 import AsyncClient, Response
from sqlalchemy import delete, select, update

from app.kit.db.base import utc_now
from app.kit.db.database import Database
from app.kit.db.housekeeping import delete_expired_records
from app.kit.db.idempotency import RETENTION, IdempotencyRecord
from app.kit.web.transaction import WriteSession
from tests.kit.probe import Probe, add_probes, add_route, names_of

EXPIRED = RETENTION + timedelta(minutes=1)


async def post(client: AsyncClient, name: str, key: str) -> Response:
    return await client.post("/probes", json={"name": name}, headers={"Idempotency-Key": key})


async def keys_of(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(select(IdempotencyRecord.key)))


async def test_retried_request_gets_the_first_response_and_takes_effect_once(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    first = await post(probe_client, "once", "key")
    again = await post(probe_client, "once", "key")

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["Location"] == again.headers["Location"]
    assert first.headers["Content-Type"] == again.headers["Content-Type"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await names_of(probe_database) == ["once"]


async def test_response_that_cannot_be_replayed_is_422_without_effect(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def stream_once(session: WriteSession) -> StreamingResponse:
        session.add(Probe(name="streamed"))
        return StreamingResponse(iter(["body"]))

    response = await live_probe_client.post("/stream_once", headers={"Idempotency-Key": "key"})

    assert response.status_code == 422
    assert await names_of(live_probe_database) == []


async def test_key_of_another_request_is_422(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    await post(probe_client, "first", "key")

    assert (await post(probe_client, "second", "key")).status_code == 422
    assert await names_of(probe_database) == ["first"]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "caf\xe9"])
async def test_malformed_key_is_422(
    probe_database: Database, probe_client: AsyncClient, key: str
) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    response = await probe_client.post("/probes", json={"name": "x"}, headers=headers)

    assert response.status_code == 422
    assert await names_of(probe_database) == []


async def test_failure_stores_no_response(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    await add_probes(probe_database, "taken")

    assert (await post(probe_client, "taken", "key")).status_code == 409
    assert await keys_of(probe_database) == []

    async with probe_database.write() as session:
        await session.execute(delete(Probe))
    assert (await post(probe_client, "taken", "key")).status_code == 201


async def test_failed_commit_stores_no_response(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    orphan = {"name": "orphan", "parent_id": 404}
    headers = {"Idempotency-Key": "key"}

    for _ in range(2):
        response = await live_probe_client.post("/probes", json=orphan, headers=headers)
        assert response.status_code == 409
    assert await keys_of(live_probe_database) == []


async def test_concurrent_requests_with_one_key_take_effect_once(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    responses = await asyncio.gather(*(post(live_probe_client, "once", "key") for _ in range(20)))

    created = [response for response in responses if response.status_code == 201]
    assert {response.status_code for response in responses} <= {201, 409}
    assert len({response.content for response in created}) == 1
    assert await names_of(live_probe_database) == ["once"]


async def test_expired_key_can_be_reused(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    await post(probe_client, "yesterday", "key")
    async with probe_database.write() as session:
        await session.execute(update(IdempotencyRecord).values(created_at=utc_now() - EXPIRED))

    response = await post(probe_client, "today", "key")

    assert response.status_code == 201
    assert "Idempotency-Replayed" not in response.headers
    assert await names_of(probe_database) == ["yesterday", "today"]
    assert (await post(probe_client, "today", "key")).headers["Idempotency-Replayed"] == "true"


async def test_expired_responses_are_deleted(live_probe_database: Database) -> None:
    async with live_probe_database.write() as session:
        for key, age in {"old": EXPIRED, "new": timedelta(0)}.items():
            session.add(
                IdempotencyRecord(
                    key=key,
                    fingerprint="",
                    principal="",
                    status=201,
                    headers="{}",
                    body=b"",
                    created_at=utc_now() - age,
                )
            )

    await delete_expired_records(live_probe_database)

    assert await keys_of(live_probe_database) == ["new"]
