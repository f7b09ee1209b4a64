"""Tests specific to PostgreSQL."""

import asyncio
import socket
import time
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import func, make_url, select, text, update

from app.kit.db import Base, schema
from app.kit.db.database import Database
from app.kit.db.engine import create_engine, schema_lock
from app.kit.settings import parse_database_url
from app.kit.web.transaction import ReadSession, WriteSession
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import SLOW
from tests.kit.probe import Probe, add_probes, add_route
from tests.kit.waiting import Stopwatch


async def test_deadlock_is_retried_transparently(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "a", "b")
    attempts = []
    both_hold_one = asyncio.Barrier(2)

    @add_route(live_probe_app)
    async def lock(first: str, second: str, session: WriteSession) -> None:
        attempts.append(first)
        # The deadlock is detected after this time; the default is a second.
        await session.execute(text("SET LOCAL deadlock_timeout = '50ms'"))
        for name in (first, second):
            statement = update(Probe).where(Probe.name == name).values(count=Probe.count + 1)
            await session.execute(statement)
            if name == first and len(attempts) <= 2:
                await both_hold_one.wait()

    orders = ({"first": "a", "second": "b"}, {"first": "b", "second": "a"})
    responses = await asyncio.gather(*(live_probe_client.post("/lock", params=o) for o in orders))

    assert [response.status_code for response in responses] == [200, 200]
    assert len(attempts) == 3
    counts = [probe["count"] for probe in (await live_probe_client.get("/probes")).json()["items"]]
    assert counts == [2, 2]


async def test_serialization_failure_is_retried_transparently(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "counter")
    attempts = []

    @add_route(live_probe_app)
    async def count_up(session: WriteSession) -> None:
        attempts.append(session)
        await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        probe = (await session.scalars(select(Probe))).one()
        await asyncio.sleep(0.01)
        probe.count += 1

    responses = await asyncio.gather(*(live_probe_client.post("/count_up") for _ in range(4)))

    assert {response.status_code for response in responses} == {200}
    assert len(attempts) > 4
    assert (await live_probe_client.get("/probes")).json()["items"][0]["count"] == 4


async def test_statement_past_its_timeout_is_504(probe_url: str) -> None:
    settings = make_settings(probe_url, database_statement_timeout=0.1)
    async with running_app(settings) as app, client_of(app) as client:

        @add_route(app)
        async def dawdle(session: WriteSession) -> None:
            await session.execute(SLOW)

        response = await client.post("/dawdle")

    assert response.status_code == 504
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_unavailable_lock_is_503(probe_url: str) -> None:
    settings = make_settings(probe_url, database_lock_timeout=0.1)
    async with running_app(settings) as app, client_of(app) as client:
        database: Database = app.state.database
        await add_probes(database, "held")

        @add_route(app)
        async def touch(session: WriteSession) -> None:
            (await session.scalars(select(Probe).with_for_update())).one().count += 1

        async with database.write() as holder:
            await holder.execute(select(Probe).with_for_update())
            response = await client.post("/touch")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


async def test_reads_of_a_snapshot_agree(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app, "GET")
    async def look_twice(session: ReadSession) -> list[int | None]:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        count = select(func.count()).select_from(Probe)
        before = await session.scalar(count)
        await add_probes(live_probe_database, "meanwhile")
        return [before, await session.scalar(count)]

    assert (await live_probe_client.get("/look_twice")).json() == [0, 0]
    # The option ends with its transaction.
    async with live_probe_database.read() as session:
        assert await session.scalar(text("SHOW transaction_isolation")) == "read committed"


async def test_connections_closed_by_the_server_are_replaced(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await asyncio.gather(*(live_probe_client.get("/probes") for _ in range(3)))
    async with live_probe_database.write() as session:
        await session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await asyncio.sleep(0.02)

    responses = await asyncio.gather(*(live_probe_client.get("/probes") for _ in range(3)))

    assert {response.status_code for response in responses} == {200}


async def test_connections_have_a_name_and_timeouts(own_url: str) -> None:
    database = Database(make_settings(own_url, environment="prod"))
    async with database.write() as session:
        for name, value in {
            "application_name": f"{database.settings.title} (write)",
            "statement_timeout": "8s",
            "lock_timeout": "5s",
            "idle_in_transaction_session_timeout": "8s",
        }.items():
            assert await session.scalar(text(f"SHOW {name}")) == value
    async with database.read() as reading:
        assert await reading.scalar(text("SHOW transaction_read_only")) == "on"
    await database.close()


@pytest.mark.parametrize("prefix", ["postgres://", "postgresql://", "postgresql+asyncpg://"])
def test_short_names_of_the_database_are_accepted(prefix: str) -> None:
    assert parse_database_url(f"{prefix}u:p@h/d").drivername == "postgresql+asyncpg"


def test_password_of_any_characters_reaches_the_driver() -> None:
    password = "".join(map(chr, range(32, 127))) + "é€😀"
    settings = make_settings(f"postgresql://user:{quote(password, safe='')}@host/database")
    engine = create_engine(settings, "write")

    _, arguments = engine.dialect.create_connect_args(engine.url)

    assert arguments["password"] == password
    assert quote(password, safe="") not in repr(engine)


@pytest.mark.parametrize("mode", ["disable", "require", "verify-full"])
def test_sslmode_is_translated_for_the_driver(mode: str) -> None:
    engine = create_engine(make_settings(f"postgres://u@h/d?sslmode={mode}"), "write")

    assert engine.dialect.create_connect_args(engine.url)[1]["ssl"] == mode


def with_hosts(url: str, *hosts: str) -> str:
    """The URL of the same database, with the server as the last of several hosts."""
    target = make_url(url)
    hosts = (*hosts, f"{target.host}:{target.port}")
    target = target.set(host=None, port=None).update_query_dict({"host": hosts})
    return target.render_as_string(hide_password=False)


async def test_unresponsive_host_takes_its_share_of_the_timeout_only_once(
    own_url: str,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = with_hosts(own_url, f"127.0.0.1:{silent.getsockname()[1]}")
        engine = create_engine(make_settings(url, database_connect_timeout=4), "migrate")
        started = time.monotonic()
        with Stopwatch() as watch:
            async with engine.connect() as connection:
                assert await connection.scalar(select(1)) == 1
        assert time.monotonic() - started >= 0.5 * 4
        assert watch.seconds < 0.9 * 4
        silent.accept()[0].close()

        async with engine.connect() as connection:
            assert await connection.scalar(select(1)) == 1
        with pytest.raises(BlockingIOError):  # Nobody came.
            silent.accept()
        await engine.dispose()


async def test_host_without_a_listener_is_skipped(own_url: str) -> None:
    url = with_hosts(own_url, "127.0.0.1:1")
    async with running_app(make_settings(url)) as app, client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200


async def test_several_unreachable_hosts_are_an_unavailable_database() -> None:
    url = "postgresql+asyncpg://user:secret@/database?host=127.0.0.1:1&host=127.0.0.1:2"
    async with running_app(make_settings(url)) as app, client_of(app) as client:
        response = await client.get("/health/ready")

    assert response.json()["checks"]["primary"] == "disconnected"


async def test_wait_for_a_schema_change_is_logged(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(own_url)
    engine = create_engine(settings, "migrate")
    async with schema_lock(engine):
        waiting = asyncio.create_task(schema.build(settings, Base.metadata))
        for _ in range(200):
            if "which is changing the schema, 1 s so far" in caplog.text:
                break
            await asyncio.sleep(0.05)
        assert "waiting for another process, which is changing the schema" in caplog.text
        assert not waiting.done()
    await waiting
    await engine.dispose()
