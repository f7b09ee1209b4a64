"""Tests specific to MySQL and MariaDB."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from pymysql.err import IntegrityError, OperationalError
from sqlalchemy import delete, func, make_url, select, text, update
from sqlalchemy.exc import DBAPIError

from app.kit.db import Base, schema
from app.kit.db.database import Database
from app.kit.db.engine import _translate_tls, abort, create_engine, schema_lock
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify, conflicting_columns
from app.kit.db.idempotency import IdempotencyRecord
from app.kit.settings import SettingsError, parse_database_url
from app.kit.web.transaction import ReadSession, WriteSession
from tests.kit import probe
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import SLOW
from tests.kit.probe import Probe, add_probes, add_route, names_of

INDEX = "ix_idempotency_keys_created_at"
EAST = timezone(timedelta(hours=9))


@pytest.fixture
async def hasty_database(probe_url: str) -> AsyncIterator[Database]:
    """A database with probes and a lock timeout of a second."""
    database = Database(make_settings(probe_url, database_lock_timeout=1))
    yield database
    await database.close()


async def test_deadlock_is_retried_transparently(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "a", "b")
    attempts = []
    both_hold_one = asyncio.Barrier(2)

    @add_route(live_probe_app)
    async def lock_both(first: str, second: str, session: WriteSession) -> None:
        attempts.append(first)
        for name in (first, second):
            statement = update(Probe).where(Probe.name == name).values(count=Probe.count + 1)
            # The server rolls back the whole transaction, including the savepoint.
            async with session.begin_nested():
                await session.execute(statement)
            if name == first and len(attempts) <= 2:
                await both_hold_one.wait()

    orders = ({"first": "a", "second": "b"}, {"first": "b", "second": "a"})
    responses = await asyncio.gather(
        *(live_probe_client.post("/lock_both", params=o) for o in orders)
    )

    assert [response.status_code for response in responses] == [200, 200]
    assert len(attempts) == 3
    counts = [probe["count"] for probe in (await live_probe_client.get("/probes")).json()["items"]]
    assert counts == [2, 2]


async def test_statement_past_its_timeout_is_504(probe_url: str) -> None:
    settings = make_settings(probe_url, database_statement_timeout=0.1)
    async with running_app(settings) as app, client_of(app) as client:

        @add_route(app)
        async def take_too_long(session: WriteSession) -> None:
            await session.execute(SLOW)

        response = await client.post("/take_too_long")

    assert response.status_code == 504
    assert response.headers["Content-Type"] == "application/problem+json"


async def test_cancelled_statement_ends_on_the_server_and_frees_its_locks(
    hasty_database: Database,
) -> None:
    await add_probes(hasty_database, "held")

    async def hold() -> None:
        async with hasty_database.write() as session:
            await session.execute(update(Probe).values(count=1))
            await session.execute(SLOW)

    holders = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0.2)
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)

    async with hasty_database.write() as session:
        await session.execute(delete(Probe))


async def test_unavailable_lock_is_503(probe_url: str) -> None:
    settings = make_settings(probe_url, database_lock_timeout=0.1)
    async with running_app(settings) as app, client_of(app) as client:
        database: Database = app.state.database
        await add_probes(database, "held")

        @add_route(app)
        async def touch_held(session: WriteSession) -> None:
            (await session.scalars(select(Probe).with_for_update())).one().count += 1

        async with database.write() as holder:
            await holder.execute(select(Probe).with_for_update())
            response = await client.post("/touch_held")

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


async def test_statement_locks_no_more_than_what_it_changes(hasty_database: Database) -> None:
    await add_probes(hasty_database, "a", "c")

    async with hasty_database.write() as holder:
        await holder.execute(delete(Probe).where(Probe.count == 7))
        await add_probes(hasty_database, "b")


async def test_reads_of_a_snapshot_agree(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    count = select(func.count()).select_from(Probe)

    @add_route(live_probe_app, "GET")
    async def look_twice_at_a_snapshot(session: ReadSession) -> list[int | None]:
        await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        before = await session.scalar(count)
        await add_probes(live_probe_database, "meanwhile")
        return [before, await session.scalar(count)]

    assert (await live_probe_client.get("/look_twice_at_a_snapshot")).json() == [0, 0]
    # The option ends with its transaction.
    async with live_probe_database.read() as session:
        before = await session.scalar(count)
        await add_probes(live_probe_database, "later")
        assert [before, await session.scalar(count)] == [1, 2]


@pytest.mark.parametrize("ping", [True, False])
async def test_connections_closed_by_the_server_are_replaced(probe_url: str, ping: bool) -> None:
    # Without monitoring, whose connection would be closed as well.
    database = Database(make_settings(probe_url, database_pool_pre_ping=ping))
    await asyncio.gather(*(names_of(database) for _ in range(3)))
    async with database.write() as session:
        others = text(
            "SELECT id FROM information_schema.processlist "
            "WHERE db = database() AND id <> CONNECTION_ID()"
        )
        ids = (await session.scalars(others)).all()
        for other in ids:
            await session.execute(text(f"KILL {other}"))
        # The server closes it with a delay.
        for _ in range(100):
            await asyncio.sleep(0.1)
            if not (await session.scalars(others)).all():
                break
        await asyncio.sleep(0.2)  # It forgets a connection before it closes it.

    assert len(ids) == 3
    assert await asyncio.gather(*(names_of(database) for _ in range(3))) == [[]] * 3
    await database.close()


async def test_reads_send_one_message_for_each_statement(
    probe_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(make_settings(probe_url, database_pool_pre_ping=False))
    async with database.reader.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
    sent: list[bytes] = []
    send = driver._write_bytes

    def record(data: bytes) -> None:
        sent.append(data)
        send(data)

    monkeypatch.setattr(driver, "_write_bytes", record)

    async with database.read() as session:
        await session.scalars(select(Probe))
        await session.get(Probe, 1)

    assert [b"FROM probes" in data for data in sent] == [True, True]
    await database.close()


async def test_connection_aborted_within_a_response_is_lost(migrated_url: str) -> None:
    engine = create_engine(make_settings(migrated_url), "read")
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver._write_bytes(b"\x09\0\0\0\x03SELECT 1")  # a query, as the protocol has it
        await driver._read_bytes(4)
        abort(driver)
        with pytest.raises(OperationalError, match="closed this connection"):
            await driver._read_bytes(1)
        await connection.invalidate()
    await engine.dispose()


async def test_primary_that_turned_read_only_is_503_and_reconnected(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    connections: list[int] = []

    @add_route(live_probe_app)
    async def write_to_standby(name: str, session: WriteSession) -> None:
        if not connections:
            await session.execute(text("SET SESSION TRANSACTION READ ONLY"))
            await session.execute(text("COMMIT"))
        connections.append(await session.scalar(text("SELECT CONNECTION_ID()")))
        session.add(Probe(name=name))

    assert (
        await live_probe_client.post("/write_to_standby", params={"name": "a"})
    ).status_code == 503
    assert (
        await live_probe_client.post("/write_to_standby", params={"name": "b"})
    ).status_code == 200
    assert len(set(connections)) == 2
    assert await names_of(live_probe_database) == ["b"]


async def test_all_connections_are_configured_alike(live_probe_database: Database) -> None:
    async with live_probe_database.write() as session:
        for name, value in {
            "time_zone": "+00:00",
            "character_set_client": "utf8mb4",
            "innodb_lock_wait_timeout": 5,
            "lock_wait_timeout": 5,
        }.items():
            assert await session.scalar(text(f"SELECT @@{name}")) == value
        modes = (await session.scalars(text("SELECT @@sql_mode"))).one().split(",")
        assert {"STRICT_ALL_TABLES", "NO_ZERO_DATE", "ONLY_FULL_GROUP_BY"} <= set(modes)


@pytest.mark.parametrize("title", ["Ünïcödé 🦊" * 40, "it's", ""])
async def test_any_title_can_be_the_name_of_a_connection(migrated_url: str, title: str) -> None:
    engine = create_engine(make_settings(migrated_url, title=title), "probe")
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await engine.dispose()


@pytest.mark.parametrize("other", ["ada", "Adá", "Ada ", "Ada\t", "A\u0308da"])
async def test_unique_text_is_compared_exactly(live_probe_database: Database, other: str) -> None:
    await add_probes(live_probe_database, "Ada", other, "🦊")

    async with live_probe_database.read() as session:
        assert await session.scalar(select(Probe.name).where(Probe.name == other)) == other
    assert await names_of(live_probe_database) == ["Ada", other, "🦊"]


async def test_tables_store_all_of_unicode_whatever_the_database_does(probe_url: str) -> None:
    settings = make_settings(probe_url)
    engine = create_engine(settings, "migrate")
    async with engine.begin() as connection:
        await connection.execute(text("ALTER DATABASE CHARACTER SET latin1"))
        await connection.run_sync(probe.ProbeBase.metadata.drop_all)
        await connection.run_sync(probe.ProbeBase.metadata.create_all)
    await engine.dispose()

    async with running_app(settings) as app:
        await add_probes(app.state.database, "🦊", "Ж", "ж")
        assert await names_of(app.state.database) == ["🦊", "Ж", "ж"]


async def test_times_keep_microseconds_and_stored_responses_their_bytes(
    live_probe_database: Database,
) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    body = bytes(range(256)) * 1000
    async with live_probe_database.write() as session:
        for key, time in {"utc": moment, "elsewhere": moment.astimezone(EAST)}.items():
            record = IdempotencyRecord(key=key, fingerprint="", principal="", headers="{}")
            record.status, record.body, record.created_at = 201, body, time
            session.add(record)

    async with live_probe_database.read() as session:
        for stored in await session.scalars(select(IdempotencyRecord)):
            assert (stored.created_at, stored.body) == (moment, body)


@pytest.mark.parametrize(
    ("entry", "columns"),
    [
        (f"'x' for key '{INDEX}'", ["created_at"]),
        (f"'x' for key 'idempotency_keys.{INDEX}'", ["created_at"]),
        (f"'x' for key '{INDEX}'' for key 'unknown'", []),
        ("'x' for key 'PRIMARY'", []),
    ],
)
def test_columns_of_a_conflict_are_known_by_the_key(entry: str, columns: list[str]) -> None:
    error = IntegrityError(1062, f"Duplicate entry {entry}")

    assert conflicting_columns(error) == columns


async def test_value_that_does_not_fit_is_rejected_and_not_truncated(
    live_probe_database: Database,
) -> None:
    for name, count in (("x" * 51, 0), ("x", 2**31)):
        with pytest.raises(DBAPIError) as refusal:
            async with live_probe_database.write() as session:
                session.add(Probe(name=name, count=count))
        assert classify(refusal.value) is ErrorKind.INVALID


def test_no_model_needs_what_mysql_cannot_return() -> None:
    # MariaDB returns generated values; MySQL returns only ids, and the rest takes a SELECT.
    for mapper in Base.registry.mappers:
        generated = [column for column in mapper.columns if column.server_default is not None]
        assert not generated or mapper.eager_defaults is True


async def test_password_of_any_characters_is_accepted(migrated_url: str, tmp_path: Path) -> None:
    password = "".join(map(chr, range(32, 127))) + "é€😀"
    admin = create_engine(make_settings(migrated_url), "migrate")
    async with admin.connect() as connection:
        quoted = password.replace("\\", "\\\\").replace("'", "''")
        name = "odd_" + tmp_path.parent.name[-8:]
        create = f"CREATE USER `{name}`@`%` IDENTIFIED BY '{quoted}'"
        await connection.exec_driver_sql(create.replace("%", "%%"), ())
        try:
            url = make_url(migrated_url).set(username=name, database="")
            given = f"{url.drivername}://{name}:{quote(password, safe='')}@{url.host}:{url.port}/"
            engine = create_engine(make_settings(given), "probe")
            async with engine.connect() as session:
                assert await session.scalar(text("SELECT 1")) == 1
            assert quote(password, safe="") not in repr(engine)
            await engine.dispose()
        finally:
            await connection.exec_driver_sql(f"DROP USER `{name}`@`%%`", ())
    await admin.dispose()


@pytest.mark.parametrize("prefix", ["mysql://", "mariadb://", "mysql+aiomysql://"])
def test_short_names_of_the_database_are_accepted(prefix: str) -> None:
    assert parse_database_url(f"{prefix}u:p@h/d").drivername == "mysql+aiomysql"


async def test_connection_without_tls_is_refused_if_the_url_requires_it() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
        capabilities = 0x000FF7FF & ~0x800  # all but TLS
        packet = b"\x0a8.4.0\0" + struct.pack("<I", 1) + b"x" * 8 + b"\0"
        packet += struct.pack("<HBHHB", capabilities & 0xFFFF, 255, 2, capabilities >> 16, 21)
        packet += b"\0" * 10 + b"x" * 12 + b"\0" + b"mysql_clear_password\0"
        writer.write(struct.pack("<I", len(packet)) + packet)
        sent.put_nowait(await reader.read(1000))
        writer.close()

    sent = asyncio.Queue[bytes]()
    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"mysql://user:secret@127.0.0.1:{port}/d?ssl-mode=REQUIRED"
        engine = create_engine(make_settings(url), "probe")
        with pytest.raises(DBAPIError) as refusal:
            await engine.connect()
        await engine.dispose()
        assert await sent.get() == b""

    assert classify(refusal.value) is ErrorKind.UNAVAILABLE


@pytest.mark.parametrize(
    ("query", "verifies", "checks_name"),
    [
        ("ssl-mode=REQUIRED", False, False),
        ("ssl_mode=verify_ca", True, False),
        ("ssl-mode=VERIFY_IDENTITY", True, True),
    ],
)
def test_tls_is_as_strict_as_the_url_says(query: str, verifies: bool, checks_name: bool) -> None:
    _, context = _translate_tls(make_url(f"mysql+aiomysql://h/d?{query}&charset=utf8"))

    assert context is not None
    assert (context.verify_mode is ssl.CERT_REQUIRED) is verifies
    assert context.check_hostname is checks_name


@pytest.mark.parametrize("query", ["ssl-mode=sometimes", "ssl-ca=/does/not/exist.pem"])
def test_invalid_tls_option_is_one_line(query: str) -> None:
    with pytest.raises(SettingsError, match=r"DATABASE_URL: ssl-(mode|ca) must"):
        Database(make_settings(f"mysql://h/d?{query}"))


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
