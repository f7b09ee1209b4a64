"""What the service promises about SQLite in particular."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import QueuePool, func, select, text

from app.kit.db.database import Database
from app.kit.db.engine import create_engine
from app.kit.db.sqlite_connection import FIRST_ROWS, Connection
from app.kit.settings import SettingsError, parse_database_url
from app.kit.web.transaction import ReadSession, WriteSession
from tests.kit import probe
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import SLOW
from tests.kit.probe import Probe, add_probes, add_route, names_of

NUMBERS = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n")


@pytest.fixture
async def hasty_database(probe_url: str) -> AsyncIterator[Database]:
    """A database with probes that waits a second for a lock, and not longer."""
    database = Database(make_settings(probe_url, database_lock_timeout=1))
    yield database
    await database.close()


async def test_reads_of_a_snapshot_agree(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    count = select(func.count()).select_from(Probe)

    @add_route(live_probe_app, "GET")
    async def look_twice_at_a_snapshot(session: ReadSession) -> list[int | None]:
        await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        before = await session.scalar(count)
        await add_probes(live_probe_database, "meanwhile")
        return [before, await session.scalar(count)]

    assert (await live_probe_client.get("/look_twice_at_a_snapshot")).json() == [0, 0]
    assert await names_of(live_probe_database) == ["meanwhile"]
    # The option ends with its transaction.
    async with live_probe_database.read() as session:
        before = await session.scalar(count)
        await add_probes(live_probe_database, "later")
        assert [before, await session.scalar(count)] == [1, 2]


async def test_snapshot_ends_with_its_session(live_probe_database: Database) -> None:
    async with live_probe_database.read() as session:
        connection = await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        await session.scalar(text("SELECT 1"))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        assert driver.in_transaction

    assert not driver.in_transaction
    assert driver.isolation_level is None


@pytest.mark.parametrize("kind", [ReadSession, WriteSession])
async def test_statement_past_its_timeout_is_504(probe_url: str, kind: Any) -> None:
    settings = make_settings(probe_url, database_statement_timeout=0.1)
    async with running_app(settings) as app, client_of(app) as client:

        @add_route(app)
        async def dawdle(session: kind) -> None:
            await session.execute(SLOW)

        response = await client.post("/dawdle")
        assert response.status_code == 504
        assert response.headers["Content-Type"] == "application/problem+json"
        # The connection is as good as new.
        await add_probes(app.state.database, "next")
        assert await names_of(app.state.database) == ["next"]


async def test_reads_do_not_wait_for_a_writer(hasty_database: Database) -> None:
    async with hasty_database.write() as session:
        session.add(Probe(name="unfinished"))
        await session.flush()

        assert await names_of(hasty_database) == []


@pytest.mark.parametrize(("kind", "query_only"), [("write", 0), ("read", 1)])
async def test_connections_are_configured(
    live_probe_database: Database, kind: str, query_only: int
) -> None:
    async with getattr(live_probe_database, kind)() as session:
        pragmas = {
            "journal_mode": "wal",
            "foreign_keys": 1,
            "busy_timeout": 5000,
            "query_only": query_only,
        }
        for name, value in pragmas.items():
            assert await session.scalar(text(f"PRAGMA {name}")) == value


async def test_first_connections_to_a_new_database_may_be_opened_at_once(tmp_path: Path) -> None:
    for number in range(30):
        url = f"sqlite+aiosqlite:///{tmp_path}/{number}.db"
        engines = [create_engine(make_settings(url), "probe") for _ in range(4)]
        try:
            connecting = (engine.connect() for engine in engines)
            for connection in await asyncio.gather(*connecting):
                await connection.close()
        finally:
            for engine in engines:
                await engine.dispose()


async def test_cancelled_statement_beside_an_unread_result_keeps_no_lock(
    hasty_database: Database,
) -> None:
    reading = asyncio.Event()

    async def linger() -> None:
        async with hasty_database.write() as session:
            result = await session.stream(NUMBERS)
            await result.fetchone()
            reading.set()
            await session.execute(SLOW)

    task = asyncio.create_task(linger())
    await reading.wait()
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])

    await add_probes(hasty_database, "next")
    # Until here the task holds the traceback, and that what it was about.
    assert task.cancelled()


@pytest.mark.parametrize("number", [0, 1, FIRST_ROWS - 1, FIRST_ROWS, FIRST_ROWS + 1, 2500])
async def test_every_row_arrives_at_once_or_as_a_stream(
    live_probe_database: Database, number: int
) -> None:
    numbers = text(f"{NUMBERS.text} LIMIT {number}")
    async with live_probe_database.read() as session:
        assert list(await session.scalars(numbers)) == list(range(1, number + 1))
        stream = (await session.stream(numbers)).scalars()
        assert [row async for row in stream] == list(range(1, number + 1))
        parts = (await session.stream(numbers)).scalars().partitions(300)
        assert [row async for part in parts for row in part] == list(range(1, number + 1))


async def test_results_of_a_session_do_not_mix(live_probe_database: Database) -> None:
    async with live_probe_database.read() as session:
        stream = (await session.stream(NUMBERS)).scalars()
        assert await stream.fetchmany(2) == [1, 2]
        assert await session.scalar(text("SELECT 'between'")) == "between"
        assert await stream.fetchmany(FIRST_ROWS) == list(range(3, FIRST_ROWS + 3))
        await stream.close()
        assert await session.scalar(text("SELECT 'after'")) == "after"


async def test_statement_takes_one_call_of_the_drivers_thread(
    hasty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_probes(hasty_database, "first")
    assert await names_of(hasty_database) == ["first"]
    calls = 0
    execute = Connection._execute

    async def count(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return await execute(*arguments)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(Connection, "_execute", count)
    assert await names_of(hasty_database) == ["first"]
    assert calls == 1

    # BEGIN, INSERT, COMMIT, and the pool's ROLLBACK.
    await add_probes(hasty_database, "second")
    assert calls == 1 + 4


async def test_database_in_memory_is_one_for_all_connections() -> None:
    settings = make_settings("sqlite://", environment="dev")
    async with running_app(settings) as app, client_of(app) as client:
        await probe.create_table(settings)
        assert (await client.get("/health/ready")).status_code == 200

        requests = [client.post("/probes", json={"name": str(n)}) for n in range(10)]
        assert {response.status_code for response in await asyncio.gather(*requests)} == {201}
        assert len((await client.get("/probes")).json()["items"]) == 10

    async with running_app(settings) as app, client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert "probes" not in await tables(app.state.database)


async def test_connection_lost_before_commit_is_never_reported_as_success(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def lose(session: WriteSession) -> None:
        session.add(Probe(name="lost"))
        await session.flush()
        connection = await (await session.connection()).get_raw_connection()
        assert connection.driver_connection is not None
        await connection.driver_connection.close()

    response = await live_probe_client.post("/lose")

    assert response.status_code == 503
    assert "may have taken effect" in response.json()["detail"]
    assert await names_of(live_probe_database) == []


async def test_service_in_development_starts_on_nothing(tmp_path: Path) -> None:
    settings = make_settings(f"sqlite:///{tmp_path}/new.db", environment="dev")
    async with running_app(settings) as app, client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200


def test_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    settings = make_settings(f"sqlite:///{tmp_path}/missing/app.db")

    with pytest.raises(SettingsError, match=r"DATABASE_URL: the folder .*missing does not exist"):
        Database(settings)


@pytest.mark.parametrize("prefix", ["sqlite:///", "sqlite+aiosqlite:///"])
def test_short_name_of_the_database_is_accepted(prefix: str) -> None:
    url = parse_database_url(f"{prefix}./app.db")

    assert (url.drivername, url.database) == ("sqlite+aiosqlite", "./app.db")


def test_pool_settings_reach_the_engines(tmp_path: Path) -> None:
    database = Database(
        make_settings(
            f"sqlite:///{tmp_path}/app.db",
            database_pool_size=7,
            database_max_overflow=3,
            database_pool_timeout=2.5,
            database_pool_recycle=77,
            database_pool_pre_ping=True,
        )
    )
    writer, reader = (cast(QueuePool, e.pool) for e in (database.writer, database.reader))

    assert (reader.size(), reader._max_overflow) == (7, 3)
    # SQLite has one writer at a time.
    assert (writer.size(), writer._max_overflow) == (1, 0)
    for pool in (writer, reader):
        assert (pool.timeout(), pool._recycle, pool._pre_ping) == (2.5, 77, True)


async def tables(live_probe_database: Database) -> list[str]:
    """The names of all tables."""
    async with live_probe_database.read() as session:
        return list(await session.scalars(text("SELECT name FROM sqlite_master")))
