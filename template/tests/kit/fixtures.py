"""The fixtures of all tests: a real database, the service on it, and clients.

    server          the database server of the run; it creates, clones and drops databases
    client          calls the service without a network; everything is rolled back after the test
    session         a session for writing, inside the same transaction, for tests without requests
    database        the `Database` of the service, inside the same transaction
    app             the application, inside the same transaction
    live_client     calls the service on a separate database, where commits are real and requests
                    may run concurrently
    live_app        that application; `live_app.state.database` is its database
    own_url         the URL of a separate database with the schema
    client_with     `async with client_with(max_body_bytes=100) as client:` calls the service with
                    other settings, on a separate database
    server_url      the URL of a process of the service on a real socket, for streams, WebSockets
                    and generated clients. It is started once for all tests, and nothing is
                    rolled back

Most tests use `client`. Tests of concurrency, failed commits or lost connections use `live_client`.

To change a setting in one test, use `client_with`; in all tests, add it to `ENVIRONMENT` in
`tests/conftest.py`. For another client (one with a token, for example), write a fixture there that
uses `client` or `client_of(app)`.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.db import schema
from app.kit.db.database import Database
from app.settings import Settings
from tests.conftest import ENVIRONMENT
from tests.kit.application import WORKER, values_of_tests
from tests.kit.clients import client_of as client_of
from tests.kit.processes import serving
from tests.kit.server import DatabaseServer, database_server

# The environment must not change the outcome of the tests.
for name in Settings.model_fields:
    os.environ.pop(name.upper(), None)
os.environ.update({"ENVIRONMENT": "test", **ENVIRONMENT})
# Importing app.main builds an application, which with PgBouncer would require more settings.
with pytest.MonkeyPatch.context() as environment:
    environment.setenv("DATABASE_PGBOUNCER", "false")
    from app.main import create_app
    from app.models import METADATA

numbers = count(1)

ClientWith = Callable[..., AbstractAsyncContextManager[AsyncClient]]


def make_settings(database_url: str, **values: Any) -> Settings:
    """The settings of the service for a database: only `values`, `ENVIRONMENT` of
    `tests/conftest.py` and defaults."""
    return Settings(**values_of_tests(database_url, **values))


@asynccontextmanager
async def running_app(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application between start-up and shutdown."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="session")
def server() -> Iterator[DatabaseServer]:
    """The database server of this test process."""
    with database_server() as server:
        yield server


@pytest.fixture(scope="session")
async def migrated_url(server: DatabaseServer) -> str:
    """The URL of a database with the schema and no rows. Clone it, do not write into it."""
    url = server.create_database(f"{WORKER}_migrated")
    await schema.build(make_settings(url), METADATA)
    return url


@pytest.fixture
def own_url(server: DatabaseServer, migrated_url: str) -> Iterator[str]:
    """The URL of a separate database with the schema."""
    url = server.clone_database(migrated_url, f"{WORKER}_{next(numbers)}")
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
async def shared_app(server: DatabaseServer, migrated_url: str) -> AsyncIterator[FastAPI]:
    """The application on a database that all rolled-back tests share."""
    url = server.clone_database(migrated_url, f"{WORKER}_shared")
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
    """The application on a separate database, where commits are real."""
    async with running_app(make_settings(own_url)) as app:
        yield app


@pytest.fixture
async def live_client(live_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client whose requests commit and may run concurrently."""
    async with client_of(live_app) as client:
        yield client


@pytest.fixture
def client_with(own_url: str) -> ClientWith:
    """A function that starts the service with other settings and yields a client."""

    @asynccontextmanager
    async def start(**values: Any) -> AsyncIterator[AsyncClient]:
        settings = make_settings(own_url, **values)
        async with running_app(settings) as app, client_of(app) as client:
            yield client

    return start


@pytest.fixture(scope="session")
async def server_url(
    server: DatabaseServer, migrated_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The URL of a process of the service, as `python -m app` starts it."""
    url = server.clone_database(migrated_url, f"{WORKER}_served")
    directory = tmp_path_factory.mktemp("served")
    async with serving(directory, "-m", "app", DATABASE_URL=url) as (_, address):
        yield address
