"""PgBouncer in transaction mode, where each transaction may run in another server process."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from app.kit.db import Base, schema
from app.kit.db.database import Database
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.settings import KitSettings, SettingsError
from app.kit.web.transaction import WriteSession
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import SLOW
from tests.kit.pgbouncer.server import pgbouncer
from tests.kit.probe import Probe, add_probes, add_route, names_of
from tests.kit.processes import free_port, run, start, wait_until_listening
from tests.kit.server import DatabaseServer

CONNECTIONS = 3
CLIENTS = 10
WORKERS = 3
ROUNDS = 20

# The application of the workers. A statement with the plan of another one would return other
# columns, or the values of another request.
WORKER = """
from sqlalchemy import text

from tests.kit.served import app
from app.kit.web.transaction import ReadSession
from tests.kit import probe

@probe.add_route(app, method="GET")
async def echo(number: int, session: ReadSession) -> list[str]:
    columns = ", ".join(f"CAST(:number AS bigint) + {n} AS c{n}" for n in range(number % 7 + 1))
    row = (await session.execute(text(f"SELECT {columns}"), {"number": number})).one()
    return [f"{name}={value}" for name, value in row._mapping.items()]
"""


# How many statements a client may have prepared: from version 1.21 on, PgBouncer prepares them in
# whichever server process comes next. Older ones do not know the setting.
PREPARED = [0, 200]


@pytest.fixture(params=[0])
def bounced_url(probe_url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with probes, through a PgBouncer with few connections."""
    with pgbouncer(probe_url, CONNECTIONS, prepared=request.param) as url:
        yield url


@pytest.fixture
def settings(bounced_url: str, probe_url: str) -> KitSettings:
    """Settings of a service behind PgBouncer."""
    return make_settings(bounced_url, database_direct_url=probe_url)


@pytest.fixture
async def bounced_app(settings: KitSettings) -> AsyncIterator[FastAPI]:
    """The application behind PgBouncer."""
    async with running_app(settings) as app:
        yield app


@pytest.fixture
def database(bounced_app: FastAPI) -> Database:
    """The database behind PgBouncer."""
    result: Database = bounced_app.state.database
    return result


@pytest.mark.parametrize("bounced_url", PREPARED, indirect=True)
async def test_many_clients_of_several_workers_get_their_own_results(
    bounced_url: str, probe_url: str, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    port = free_port()
    command = ["-m", "uvicorn", "worker:app", "--port", str(port), "--workers", str(WORKERS)]
    workers = await start(
        tmp_path,
        *command,
        DATABASE_URL=bounced_url,
        DATABASE_DIRECT_URL=probe_url,
        DATABASE_PGBOUNCER="true",
        # On a busy machine, one may wait for a connection.
        DATABASE_POOL_TIMEOUT="30",
        DATABASE_RETRY_TIMEOUT="30",
        REQUEST_TIMEOUT="60",
    )
    wrong: list[object] = []

    async def use(client: AsyncClient, name: str) -> None:
        for n in range(ROUNDS):
            created = await client.post("/probes", json={"name": f"{name}-{n}"})
            read = await client.get(created.headers.get("Location", "/none"))
            if (created.status_code, read.status_code) != (201, 200):
                wrong.append((created.text, read.text))
            elif created.json() != read.json() or read.json()["name"] != f"{name}-{n}":
                wrong.append((created.json(), read.json()))
            number = hash((name, n)) % 10**9
            echo = await client.get("/echo", params={"number": number})
            if echo.json() != [f"c{i}={number + i}" for i in range(number % 7 + 1)]:
                wrong.append((number, echo.text))

    try:
        await wait_until_listening(workers, port)
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
            await asyncio.gather(*(use(client, f"client-{n}") for n in range(CLIENTS)))
    finally:
        workers.terminate()
        await workers.communicate()

    assert wrong == []


@pytest.mark.usefixtures("no_load_shedding")
async def test_transactions_that_wait_for_a_connection_get_one(
    database: Database, bounced_app: FastAPI
) -> None:
    @add_route(bounced_app)
    async def add(name: str, session: WriteSession) -> None:
        session.add(Probe(name=name))
        await session.flush()
        await session.execute(text("SELECT pg_sleep(0.01)"))

    async with client_of(bounced_app) as client:
        requests = (client.post("/add", params={"name": str(n)}) for n in range(40))
        responses = await asyncio.gather(*requests)

    assert {response.status_code for response in responses} == {200}
    assert len(await names_of(database)) == 40


async def test_statement_past_its_timeout_is_504(settings: KitSettings) -> None:
    settings = settings.model_copy(update={"database_statement_timeout": 0.1})
    async with running_app(settings) as app, client_of(app) as client:

        @add_route(app)
        async def dawdle(session: WriteSession) -> None:
            await session.execute(SLOW)

        assert (await client.post("/dawdle")).status_code == 504


async def test_unavailable_lock_is_503(settings: KitSettings) -> None:
    settings = settings.model_copy(update={"database_lock_timeout": 0.1})
    async with running_app(settings) as app, client_of(app) as client:
        database: Database = app.state.database
        await add_probes(database, "held")

        @add_route(app)
        async def touch(session: WriteSession) -> None:
            (await session.scalars(select(Probe).with_for_update())).one().count += 1

        async with database.write() as holder:
            await holder.execute(select(Probe).with_for_update())
            assert (await client.post("/touch")).status_code == 503


async def test_timeouts_end_with_the_transaction(database: Database, bounced_url: str) -> None:
    async with database.write() as session:
        assert await session.scalar(text("SHOW lock_timeout")) == "5s"

    # Another client of the same server processes.
    connection = await asyncpg.connect(bounced_url.replace("+asyncpg", ""), statement_cache_size=0)
    assert {await connection.fetchval("SHOW lock_timeout") for _ in range(9)} == {"0"}
    await connection.close()


async def test_sql_that_writes_is_refused_for_a_reading_session(database: Database) -> None:
    async with database.read() as session:
        with pytest.raises(DBAPIError) as refusal:
            await session.execute(text("DELETE FROM probes"))

    assert classify(refusal.value) is ErrorKind.READ_ONLY
    async with database.write() as session:
        await session.execute(text("DELETE FROM probes"))


async def test_schema_is_changed_on_the_direct_url(server: DatabaseServer) -> None:
    direct_url = server.create_database("direct")
    with pgbouncer(direct_url, CONNECTIONS) as url:
        settings = make_settings(url, database_direct_url=direct_url)
        await schema.build(settings, Base.metadata)
        async with running_app(settings) as app, client_of(app) as client:
            response = await client.get("/health/ready")
    server.drop_database(direct_url)

    assert response.json()["checks"]["schema"] == "ok"


async def test_missing_direct_url_is_explained(bounced_url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_DIRECT_URL is not set") as refusal:
        await schema.build(make_settings(bounced_url, database_direct_url=None), Base.metadata)

    assert bounced_url not in str(refusal.value)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_service_that_cannot_build_the_schema_exits_with_one_line(
    tmp_path: Path, workers: str
) -> None:
    code, output = await run(
        tmp_path,
        *("-m", "app"),
        DATABASE_PGBOUNCER="true",
        DATABASE_MIGRATE_AT_START="true",
        WORKERS=workers,
    )

    assert code == 1
    assert output.startswith("DATABASE_DIRECT_URL is not set")
    assert len(output.splitlines()) == 1
