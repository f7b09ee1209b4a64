"""Liveness and readiness with and without a database."""

import asyncio
from pathlib import Path

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response
from sqlalchemy import MetaData, text

from app.kit.db.engine import create_engine
from app.kit.settings import KitSettings
from tests.kit import schema
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import unreachable_url
from tests.kit.waiting import Stopwatch


def unreachable(directory: Path) -> KitSettings:
    url = unreachable_url(directory)
    return make_settings(url, database_connect_timeout=0.2, database_retry_timeout=0)


async def drop_schema(settings: KitSettings) -> None:
    engine = create_engine(settings, "migrate")
    async with engine.begin() as connection:
        everything = MetaData()
        await connection.run_sync(everything.reflect)
        await connection.run_sync(everything.drop_all)
    await engine.dispose()


async def test_service_is_ready_when_the_database_is(client: AsyncClient) -> None:
    response = await client.get("/health/ready")

    assert response.status_code == 200
    body = response.json()
    assert body["status"] == "ready"
    assert (body["checks"]["primary"], body["checks"]["schema"]) == ("ok", "ok")


async def test_liveness_does_not_depend_on_the_database(client: AsyncClient) -> None:
    response = await client.get("/health/live")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_head_responds_like_get(client: AsyncClient, path: str) -> None:
    response = await client.head(path)

    assert response.status_code == 200
    assert response.headers == {**(await client.get(path)).headers, **id_of(response)}


def id_of(response: Response) -> dict[str, str]:
    """The header in which any two responses differ."""
    return {"x-request-id": response.headers["x-request-id"]}


async def test_service_starts_lives_and_is_unready_without_a_database(tmp_path: Path) -> None:
    async with running_app(unreachable(tmp_path)) as app, client_of(app) as client:
        assert (await client.get("/health/live")).status_code == 200

        with Stopwatch() as watch:
            response = await client.get("/health/ready")
        assert watch.seconds < 2

        assert response.status_code == 503
        body = response.json()
        assert body["status"] == "unready"
        assert body["checks"]["primary"] != "ok"
        assert "secret" not in response.text


async def test_service_with_a_missing_schema_is_unready_until_it_exists(live_app: FastAPI) -> None:
    settings = live_app.state.settings
    async with client_of(live_app) as client:
        await drop_schema(settings)
        response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = response.json()["checks"]
        assert (checks["primary"], checks["schema"]) == ("ok", "behind")
        assert (await client.get("/health/live")).status_code == 200

        await schema.build(settings)
        assert (await client.get("/health/ready")).status_code == 200


async def test_readiness_does_not_queue_behind_requests(own_url: str) -> None:
    settings = make_settings(own_url, database_pool_size=1, database_max_overflow=0)
    async with running_app(settings) as app, client_of(app) as client:
        database = app.state.database
        async with database.write() as writing, database.read() as reading:
            await writing.execute(text("SELECT 1"))
            await reading.execute(text("SELECT 1"))
            assert (await client.get("/health/ready")).status_code == 200


async def test_wait_for_the_database_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = unreachable(tmp_path)
    if "database_migrate_at_start" in KitSettings.model_fields:
        settings = settings.model_copy(update={"database_migrate_at_start": True})
    async with running_app(settings):
        for _ in range(200):
            if "waiting" in caplog.text:
                break
            await asyncio.sleep(0.05)
    assert "waiting for the database, to build the schema" in caplog.text
