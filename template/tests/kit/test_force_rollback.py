"""Forced rollback: the service works as usual, and at the end nothing is committed."""

import asyncio

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient

from app.kit.db.database import Database
from app.kit.web.transaction import ReadSession, WriteSession
from tests.kit.application import create_app, make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.probe import Probe, add_probes, add_route, names_of


async def test_writes_are_visible_inside_and_gone_afterwards(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "before")

    async with live_probe_database.force_rollback():
        await add_probes(live_probe_database, "script")
        response = await live_probe_client.post("/probes", json={"name": "request"})
        assert response.status_code == 201
        listed = (await live_probe_client.get("/probes")).json()["items"]
        assert [item["name"] for item in listed] == ["before", "script", "request"]

    assert await names_of(live_probe_database) == ["before"]
    await add_probes(live_probe_database, "after")
    assert await names_of(live_probe_database) == ["before", "after"]


async def test_failed_request_undoes_itself_alone(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    async with live_probe_database.force_rollback():
        await live_probe_client.post("/probes", json={"name": "first"})
        assert (await live_probe_client.post("/probes", json={"name": "first"})).status_code == 409
        assert await names_of(live_probe_database) == ["first"]


async def test_savepoints_work_inside(live_probe_database: Database) -> None:
    async with live_probe_database.force_rollback():
        async with live_probe_database.write() as session:
            session.add(Probe(name="outer"))
            with pytest.raises(IntegrityError):
                async with session.begin_nested():
                    session.add(Probe(name="outer"))
        assert await names_of(live_probe_database) == ["outer"]

    assert await names_of(live_probe_database) == []


async def test_concurrent_requests_take_turns(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def add(name: str, read: ReadSession, write: WriteSession) -> None:
        await read.get(Probe, 1)
        write.add(Probe(name=name))
        await write.flush()
        await asyncio.sleep(0)

    async with live_probe_database.force_rollback():
        requests = [live_probe_client.post("/add", params={"name": str(n)}) for n in range(20)]
        responses = await asyncio.gather(*requests)

        assert {response.status_code for response in responses} == {200}
        assert len(await names_of(live_probe_database)) == 20

    assert await names_of(live_probe_database) == []


async def test_setting_rolls_back_all_that_the_service_wrote(probe_url: str) -> None:
    settings = make_settings(probe_url, database_force_rollback=True)
    async with running_app(settings) as app, client_of(app) as client:
        assert (await client.post("/probes", json={"name": "demo"})).status_code == 201
        assert len((await client.get("/probes")).json()["items"]) == 1

    async with running_app(make_settings(probe_url)) as app:
        assert await names_of(app.state.database) == []


def test_setting_works_with_the_synchronous_test_client(probe_url: str) -> None:
    for _ in range(2):
        app = create_app(make_settings(probe_url, database_force_rollback=True))
        with TestClient(app) as client:
            assert client.get("/probes").json()["items"] == []
            assert client.post("/probes", json={"name": "demo"}).status_code == 201
            assert len(client.get("/probes").json()["items"]) == 1
