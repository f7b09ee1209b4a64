"""What the tests stand on: a real database, the application on it, and a client.

A test that uses `client` runs inside one transaction, which is rolled back at its end, so tests see
nothing of each other and cost little. A test of what happens between transactions (concurrency,
failed commits, lost connections) uses `live_client`, on a database of its own.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import schema
from app.db.database import Database
from app.settings import Settings
from tests import probe
from tests.server import DatabaseServer, database_server

# The settings of whoever runs the tests must not change their outcome.
for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)
os.environ["ENVIRONMENT"] = "test"
# Nor must the application that the module makes by itself miss what a proxy asks for.
os.environ["DATABASE_PGBOUNCER"] = "false"

from app.main import create_app  # noqa: E402  (reads the environment)

del os.environ["DATABASE_PGBOUNCER"]

_numbers = count(1)


def make_settings(database_url: str, **values: Any) -> Settings:
    """Settings for a database, from nothing but `values` and the defaults; those of the pool, which
    are the service's own, must not decide about the tests, nor must a machine that is busy."""
    pool = {"database_pool_size": 5, "database_max_overflow": 10}
    patience = {"database_pool_timeout": 30, "request_timeout": 60}
    if "database_direct_url" in Settings.model_fields:
        values.setdefault("database_direct_url", database_url)
    return Settings(_env_file=None, database_url=database_url, **{**pool, **patience, **values})


@asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application between start-up and shutdown."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


def client_of(app: FastAPI) -> AsyncClient:
    """A client that calls the application without a network."""
    return AsyncClient(transport=ASGITransport(app), base_url="http://test")


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseServer]:
    """The server of this process's databases."""
    with database_server() as server:
        yield server


@pytest.fixture(scope="session")
async def migrated_url(server: DatabaseServer) -> str:
    """The URL of a database with the schema and no rows. Clone it, do not write into it."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.create_database(f"{worker}_migrated")
    await schema.build(make_settings(url))
    return url


@pytest.fixture
def own_url(server: DatabaseServer, migrated_url: str) -> Iterator[str]:
    """The URL of a database with the schema, for one test alone."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.clone_database(migrated_url, f"{worker}_{next(_numbers)}")
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
async def shared_app(server: DatabaseServer, migrated_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database that all rolled-back tests share."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.clone_database(migrated_url, f"{worker}_shared")
    async with running_app(make_settings(url)) as app:
        yield app


@pytest.fixture
async def app(shared_app: FastAPI) -> AsyncIterator[FastAPI]:
    """The application inside a transaction that is rolled back after the test."""
    async with shared_app.state.database.force_rollback():
        yield shared_app
    shared_app.dependency_overrides.clear()


@pytest.fixture
def database(app: FastAPI) -> Database:
    """The database inside the same transaction."""
    result: Database = app.state.database
    return result


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session for writing inside the same transaction. Requests wait until the test ends; use
    `async with database.write()` to write between requests."""
    async with database.write() as session:
        yield session


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client whose requests are rolled back after the test."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def live_app(own_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database of its own, where commits are commits."""
    async with running_app(make_settings(own_url)) as app:
        yield app


@pytest.fixture
async def live_client(live_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client whose requests commit, and may run at the same time."""
    async with client_of(live_app) as client:
        yield client


@pytest.fixture(scope="session")
async def probe_template_url(server: DatabaseServer, migrated_url: str) -> str:
    """The URL of a database with the schema and the table of probes. Clone it, too."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.clone_database(migrated_url, f"{worker}_probes")
    await probe.create_table(make_settings(url))
    return url


@pytest.fixture(scope="session")
async def shared_probe_app(
    server: DatabaseServer, probe_template_url: str
) -> AsyncIterator[FastAPI]:
    """The application with the routes of probes, on a database that rolled-back tests share."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.clone_database(probe_template_url, f"{worker}_shared_probes")
    async with running_app(make_settings(url)) as app:
        app.include_router(probe.router)
        yield app


@pytest.fixture
async def probe_database(shared_probe_app: FastAPI) -> AsyncIterator[Database]:
    """A database with probes, inside a transaction that is rolled back after the test."""
    database: Database = shared_probe_app.state.database
    async with database.force_rollback():
        yield database


@pytest.fixture
async def probe_client(
    shared_probe_app: FastAPI, probe_database: Database
) -> AsyncIterator[AsyncClient]:
    """A client of the application with probes, inside the same transaction."""
    async with client_of(shared_probe_app) as client:
        yield client


@pytest.fixture
def probe_url(server: DatabaseServer, probe_template_url: str) -> Iterator[str]:
    """The URL of a database with the schema and probes, for one test alone."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.clone_database(probe_template_url, f"{worker}_{next(_numbers)}")
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
async def live_probe_app(server: DatabaseServer, probe_template_url: str) -> AsyncIterator[FastAPI]:
    """The application with the routes of probes, on a database that live tests share."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = server.clone_database(probe_template_url, f"{worker}_live_probes")
    async with running_app(make_settings(url)) as app:
        app.include_router(probe.router)
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
