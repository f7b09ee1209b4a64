"""The fixtures of the kit's tests: those of `fixtures.py`, but for the kit's own application, and
further ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.kit.db import admission
from app.kit.db.database import Database
from tests.kit import probe, schema
from tests.kit.application import WORKER, make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.server import DatabaseServer
from tests.kit.server_runs import COMMANDS, ServerRun, run_server


@pytest.fixture(scope="session")
async def migrated_url(server: DatabaseServer) -> str:
    """The URL of a database with the kit's tables and that of probes. Clone it before writing."""
    url = server.create_database(f"{WORKER}_kit")
    await schema.build(make_settings(url))
    return url


@pytest.fixture(scope="session")
async def shared_app(server: DatabaseServer, migrated_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database that all rolled-back tests share."""
    url = server.clone_database(migrated_url, f"{WORKER}_kit_shared")
    async with running_app(make_settings(url)) as app:
        yield app


@pytest.fixture
async def live_app(own_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database of its own, where commits are commits."""
    async with running_app(make_settings(own_url)) as app:
        yield app


@pytest.fixture
def probe_url(own_url: str) -> str:
    """The URL of a database with probes, for one test alone."""
    return own_url


@pytest.fixture
def probe_database(database: Database) -> Database:
    """A database with probes, inside a transaction that is rolled back after the test."""
    return database


@pytest.fixture
def probe_client(client: AsyncClient) -> AsyncClient:
    """A client of the application, inside the same transaction."""
    return client


@pytest.fixture(scope="session")
async def live_probe_app(server: DatabaseServer, migrated_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database that live tests share."""
    url = server.clone_database(migrated_url, f"{WORKER}_kit_live")
    async with running_app(make_settings(url)) as app:
        yield app


@pytest.fixture
async def live_probe_database(live_probe_app: FastAPI) -> Database:
    """A database without probes, where commits are commits."""
    database: Database = live_probe_app.state.database
    await probe.delete_all(database)
    return database


@pytest.fixture
async def live_probe_client(
    live_probe_app: FastAPI, live_probe_database: Database
) -> AsyncIterator[AsyncClient]:
    """A client of the application on that database."""
    async with client_of(live_probe_app) as client:
        yield client


@pytest.fixture
def no_load_shedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable load shedding, which a paused machine would trigger."""
    monkeypatch.setattr(admission, "STALL_TICKS", 1000)


@pytest.fixture(scope="session")
async def server_runs(
    server: DatabaseServer, migrated_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ServerRun]:
    """One run of the service for each way of starting it."""
    url = server.clone_database(migrated_url, f"{WORKER}_kit_runs")
    directory = tmp_path_factory.mktemp("server")
    runs = await asyncio.gather(*(run_server(command, url, directory) for command in COMMANDS))
    return dict(zip(COMMANDS, runs, strict=True))
