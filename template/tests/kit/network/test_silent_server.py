"""A database server that falls silent or is lost, as frozen ones and cut networks are: nothing
hangs, and no guess is told as a fact."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.kit.db import health_probe, monitor
from app.kit.db.database import Database
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.web.transaction import WriteSession
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.network.fault_proxy import FaultProxy, fault_proxy
from tests.kit.probe import Probe, add_probes, add_route, all_returned, names_of
from tests.kit.waiting import Stopwatch, eventually


@pytest.fixture
async def relay_and_app(probe_url: str) -> AsyncIterator[tuple[FaultProxy, FastAPI]]:
    """The application with a relay before its database; it loses patience after a second."""
    async with fault_proxy(probe_url) as (url, relay):
        database = Database(make_settings(probe_url))
        await add_probes(database, "one", "two")
        await database.close()
        settings = make_settings(url, database_retry_timeout=1, database_connect_timeout=1)
        async with running_app(settings) as app:
            await eventually(lambda: is_answered(app))
            yield relay, app


@asynccontextmanager
async def silence(relay: FaultProxy) -> AsyncIterator[None]:
    relay.forwarding.clear()
    try:
        yield
    finally:
        relay.forwarding.set()


async def is_answered(app: FastAPI) -> bool:
    async with client_of(app) as client:
        return (await client.get("/probes")).status_code == 200


async def test_requests_to_a_silent_server_end_early_and_later_ones_at_once(
    relay_and_app: tuple[FaultProxy, FastAPI],
) -> None:
    relay, app = relay_and_app
    async with client_of(app) as client, silence(relay):
        with Stopwatch() as first:
            responses = await asyncio.gather(*(client.get("/probes") for _ in range(20)))
        with Stopwatch() as later:
            responses.append(await client.get("/probes"))

    # The statement's own timeout is 8 seconds.
    assert first.seconds < 6
    assert later.seconds < 0.2
    for response in responses:
        assert response.status_code == 503
        assert response.headers["Retry-After"]


async def test_no_request_outlasts_its_statement_on_a_silent_server(probe_url: str) -> None:
    async with fault_proxy(probe_url) as (url, relay):
        limits = {"database_connect_timeout": 0.5, "database_statement_timeout": 0.5}
        settings = make_settings(url, database_retry_timeout=0, **limits)
        async with running_app(settings) as app, client_of(app) as client:
            await eventually(lambda: is_answered(app))
            async with silence(relay):
                with Stopwatch() as watch:
                    responses = await asyncio.gather(
                        client.get("/probes"), client.post("/probes", json={"name": "lost"})
                    )

    assert watch.seconds < 5
    assert {response.status_code for response in responses} <= {503, 504}


async def test_ping_without_an_answer_is_503(probe_url: str) -> None:
    async with fault_proxy(probe_url) as (url, relay):
        limits = {"database_connect_timeout": 0.5, "database_statement_timeout": 0.5}
        # Long enough for the ping to end before the service gives the server up.
        limits |= {"database_retry_timeout": 2}
        settings = make_settings(url, database_pool_pre_ping=True, **limits)
        async with running_app(settings) as app, client_of(app) as client:
            await eventually(lambda: is_answered(app))
            async with silence(relay):
                response = await client.get("/probes")

    assert response.status_code == 503


async def test_ping_without_an_answer_takes_no_longer_than_to_connect(probe_url: str) -> None:
    async with fault_proxy(probe_url) as (url, relay):
        limits = {"database_connect_timeout": 0.5, "database_statement_timeout": 8}
        # Nobody watches it, who would cut the connection off.
        database = Database(make_settings(url, database_pool_pre_ping=True, **limits))
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
        async with silence(relay):
            with Stopwatch() as watch, pytest.raises(DBAPIError) as lost:
                async with database.read() as session:
                    await session.execute(text("SELECT 1"))
        await database.close()

    assert watch.seconds < 5
    assert classify(lost.value) is ErrorKind.DISCONNECTED


async def test_service_is_back_soon_after_the_server_speaks_again(
    relay_and_app: tuple[FaultProxy, FastAPI],
) -> None:
    relay, app = relay_and_app
    async with client_of(app) as client, silence(relay):
        await asyncio.gather(*(client.get("/probes") for _ in range(5)))
    with Stopwatch() as watch:
        await eventually(lambda: is_answered(app))

    assert watch.seconds < 5
    assert await all_returned(app.state.database)


async def test_process_that_stood_still_does_not_take_the_database_for_lost(
    probe_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "TIMEOUT", 0.5)
    async with fault_proxy(probe_url) as (url, relay):
        settings = make_settings(url, database_retry_timeout=1.5)
        async with running_app(settings) as app, client_of(app) as client:
            await eventually(lambda: is_answered(app))
            async with silence(relay):
                looking = asyncio.create_task(client.get("/health/ready"))
                await asyncio.sleep(0.1)
                # As on a machine that is paused while somebody waits for an answer.
                time.sleep(2)  # noqa: ASYNC251
            await looking

            assert await is_answered(app)


async def test_readiness_of_a_silent_server_answers_within_two_seconds(
    relay_and_app: tuple[FaultProxy, FastAPI],
) -> None:
    relay, app = relay_and_app
    async with client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200
        async with silence(relay):
            with Stopwatch() as watch:
                responses = await asyncio.gather(*(client.get("/health/ready") for _ in range(5)))

    assert watch.seconds < 2
    for response in responses:
        assert response.status_code == 503
        assert response.json()["checks"]["primary"] == "disconnected"


async def test_server_that_never_answers_is_unready_within_two_seconds(probe_url: str) -> None:
    async with fault_proxy(probe_url) as (url, relay):
        settings = make_settings(url, database_connect_timeout=0.5, database_retry_timeout=0)
        async with silence(relay), running_app(settings) as app, client_of(app) as client:
            with Stopwatch() as watch:
                response = await client.get("/health/ready")

    assert watch.seconds < 2
    assert response.status_code == 503
    assert response.json()["checks"]["primary"] in ("disconnected", "timeout", "unreachable")


async def test_readiness_has_one_connection_however_many_ask(
    relay_and_app: tuple[FaultProxy, FastAPI],
) -> None:
    relay, app = relay_and_app
    before = relay.connections
    async with client_of(app) as client:
        for _ in range(3):
            await asyncio.gather(*(client.get("/health/ready") for _ in range(20)))

    assert relay.connections <= before + 1


async def test_idle_service_leaves_the_database_alone(
    relay_and_app: tuple[FaultProxy, FastAPI],
) -> None:
    relay, _ = relay_and_app
    await asyncio.sleep(1)  # What it asks when it starts has an answer by now.
    before = relay.bytes
    await asyncio.sleep(1.2)

    assert relay.bytes == before


async def test_service_stops_although_the_server_is_silent(
    probe_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health_probe.CLOSE_TIMEOUT <= 3
    monkeypatch.setattr(health_probe, "CLOSE_TIMEOUT", 1)
    async with fault_proxy(probe_url) as (url, relay), AsyncExitStack() as service:
        app = await service.enter_async_context(running_app(make_settings(url)))
        database: Database = app.state.database
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
        relay.forwarding.clear()
        with Stopwatch() as watch:
            await service.aclose()

    assert watch.seconds < 6


async def test_deadline_answers_while_the_server_is_silent(probe_url: str) -> None:
    async with fault_proxy(probe_url) as (url, relay):
        settings = make_settings(url, request_timeout=0.5, database_retry_timeout=1)
        async with running_app(settings) as app, client_of(app) as client:
            await eventually(lambda: is_answered(app))
            async with silence(relay):
                response = await client.get("/probes")
            assert response.status_code == 504
            assert await all_returned(app.state.database)


async def test_connection_lost_during_commit_is_neither_repeated_nor_reported_as_success(
    relay_and_app: tuple[FaultProxy, FastAPI],
) -> None:
    relay, app = relay_and_app
    attempts = []

    @add_route(app)
    async def lose_commit(session: WriteSession) -> None:
        attempts.append(session)
        session.add(Probe(name="unknown"))
        await session.flush()
        relay.hangs_up_at = b"COMMIT"

    async with client_of(app) as client:
        response = await client.post("/lose_commit")
    relay.hangs_up_at = None
    await eventually(lambda: is_answered(app))

    assert response.status_code == 503
    assert "may have taken effect" in response.json()["detail"]
    assert len(attempts) == 1
    assert await names_of(app.state.database) == ["one", "two"]
