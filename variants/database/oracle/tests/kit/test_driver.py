"""Tests specific to Oracle.

A recorder (`tests/kit/offline/recorder.py`) takes the place of a server: these tests show what
would be sent, and how the errors that Oracle documents are handled.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast
from urllib.parse import quote

import oracledb
import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import BigInteger, MetaData, QueuePool, Table, select

from app.kit.db.base import Base
from app.kit.db.database import Database
from app.kit.db.engine import create_engine, schema_lock
from app.kit.db.error_codes import classify_driver_error, violated_columns
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.pool import Role
from app.kit.settings import SettingsError, parse_database_url
from app.kit.web.transaction import ReadSession, WriteSession, transaction
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.offline.recorder import Recorder
from tests.kit.probe import Probe, add_route

URL = "oracle://app:secret@db.example:1521?service_name=service"
UTC_SESSION = "ALTER SESSION SET TIME_ZONE = '+00:00'"


class Details:
    """The driver's details of an error."""

    def __init__(self, code: str, text: str = "") -> None:
        self.full_code = code
        self.text = f"{code}: {text}"

    def __str__(self) -> str:
        return self.text


def oracle_error(code: str, text: str = "") -> oracledb.DatabaseError:
    """An error as the driver raises it."""
    integrity = code in ("ORA-00001", "ORA-01400", "ORA-02290", "ORA-02291", "ORA-02292")
    kind = oracledb.IntegrityError if integrity else oracledb.DatabaseError
    return kind(Details(code, text))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """The recorder of what would be sent to the server."""
    recorder = Recorder()
    monkeypatch.setattr(oracledb, "connect_async", recorder.connect)
    return recorder


@pytest.fixture
async def recorded_app(recorder: Recorder) -> AsyncIterator[FastAPI]:
    """The application with probes, its connections open."""
    async with running_app(make_settings(URL)) as app:
        async with app.state.database.read() as reading, app.state.database.write() as writing:
            await reading.scalars(select(Probe))
            await writing.scalars(select(Probe))
        # Housekeeping runs at start-up, which takes an iteration of the loop.
        await asyncio.sleep(0.01)
        recorder.forget()
        yield app


@pytest.fixture
async def recorded_client(recorded_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with client_of(recorded_app) as client:
        yield client


def fail_once(recorder: Recorder, beginning: str, error: Exception) -> None:
    """Make the first statement with this beginning raise."""

    def fail(statement: str) -> None:
        if statement.startswith(beginning):
            recorder.fail = lambda statement: None
            raise error

    recorder.fail = fail


def sent_by_session(recorder: Recorder) -> list[str]:
    """What was sent, without what the pool sends: its ping, and its rollback of what it gets."""
    return [s for s in recorder.sent if s not in ("SELECT 1 FROM DUAL", "ROLLBACK")]


async def test_each_read_is_a_transaction_that_cannot_write(
    recorder: Recorder, recorded_client: AsyncClient
) -> None:
    assert (await recorded_client.get("/probes")).status_code == 200

    begin, read, end = sent_by_session(recorder)
    assert begin == "SET TRANSACTION READ ONLY"
    assert read.endswith("FROM probes ORDER BY probes.id FETCH FIRST :page_limit ROWS ONLY")
    assert end == "COMMIT"


async def test_all_reads_are_one_snapshot_where_that_is_declared(
    recorder: Recorder, recorded_app: FastAPI, recorded_client: AsyncClient
) -> None:
    @add_route(recorded_app, "GET")
    @transaction(isolation="REPEATABLE READ")
    async def snapshot(session: ReadSession) -> None:
        await session.scalars(select(Probe))
        await session.scalars(select(Probe))

    assert (await recorded_client.get("/snapshot")).status_code == 200

    begin, first, second = sent_by_session(recorder)
    assert begin == "SET TRANSACTION READ ONLY"
    assert first == second


async def test_stricter_level_of_a_writer_is_set_before_its_first_statement(
    recorder: Recorder, recorded_app: FastAPI, recorded_client: AsyncClient
) -> None:
    @add_route(recorded_app)
    @transaction(isolation="REPEATABLE READ")
    async def strict(session: WriteSession) -> None:
        await session.scalars(select(Probe))

    assert (await recorded_client.post("/strict")).status_code == 200
    strict_level = recorder.sent.index("ALTER SESSION SET ISOLATION_LEVEL=SERIALIZABLE")
    usual_level = recorder.sent.index("ALTER SESSION SET ISOLATION_LEVEL=READ COMMITTED")
    read = next(i for i, s in enumerate(recorder.sent) if "FROM probes" in s)
    assert strict_level < read < recorder.sent.index("COMMIT") < usual_level


async def test_write_is_committed_with_the_id_that_was_generated(
    recorder: Recorder, recorded_client: AsyncClient
) -> None:
    recorder.given = 7

    response = await recorded_client.post("/probes", json={"name": "x"})

    assert response.json()["id"] == 7
    insert = next(i for i, s in enumerate(recorder.sent) if s.startswith("INSERT INTO probes"))
    assert "RETURNING probes.id" in recorder.sent[insert]
    assert recorder.sent[insert + 1] == "COMMIT"


async def test_request_that_reads_and_writes_has_one_connection(
    recorder: Recorder, recorded_app: FastAPI, recorded_client: AsyncClient
) -> None:
    @add_route(recorded_app)
    async def both(read: ReadSession, write: WriteSession) -> None:
        await write.scalars(select(Probe))
        await read.scalars(select(Probe))

    assert (await recorded_client.post("/both")).status_code == 200
    assert "SET TRANSACTION READ ONLY" not in recorder.sent


async def test_connections_are_in_utc_and_have_timeouts(recorder: Recorder) -> None:
    bounds: dict[Role, int] = {"write": 8000, "read": 8000, "probe": 8000, "migrate": 0}
    for role, milliseconds in bounds.items():
        engine = create_engine(make_settings(URL, title="Größe (x) = 'y' " * 20), role)
        async with engine.connect():
            pass
        await engine.dispose()

        assert recorder.connections[-1].call_timeout == milliseconds
        assert UTC_SESSION in recorder.sent
        assert ("ALTER SESSION SET DDL_LOCK_TIMEOUT = 5" in recorder.sent) is (role == "migrate")
        assert recorder.options["tcp_connect_timeout"] == 3
        assert len(recorder.options["program"]) <= 48
        recorder.forget()


async def test_connection_that_was_closed_is_replaced(
    recorder: Recorder, recorded_client: AsyncClient
) -> None:
    before = len(recorder.connections)
    for connection in recorder.connections:
        connection.healthy = False

    assert (await recorded_client.get("/probes")).status_code == 200
    assert len(recorder.connections) == before + 1


@pytest.mark.parametrize("code", ["ORA-00060", "ORA-08177", "ORA-03113", "ORA-01089", "DPY-4011"])
async def test_lost_transaction_is_retried_transparently(
    recorder: Recorder, recorded_client: AsyncClient, code: str
) -> None:
    fail_once(recorder, "INSERT", oracle_error(code))

    assert (await recorded_client.post("/probes", json={"name": "x"})).status_code == 201
    assert recorder.sent.count("COMMIT") == 1
    assert len([s for s in recorder.sent if s.startswith("INSERT")]) == 2


async def test_lost_commit_is_neither_retried_nor_reported_as_success(
    recorder: Recorder, recorded_client: AsyncClient
) -> None:
    fail_once(recorder, "COMMIT", oracle_error("DPY-4011"))

    response = await recorded_client.post("/probes", json={"name": "x"})

    assert response.status_code == 503
    assert "may have taken effect" in response.json()["detail"]
    assert len([s for s in recorder.sent if s.startswith("INSERT")]) == 1


ANSWERS = [
    ("ORA-00001", "unique constraint (APP.UQ_PROBES_NAME) violated", 409),
    ("ORA-02291", "integrity constraint (APP.FK) violated - parent key not found", 409),
    ("ORA-12899", "value too large for column", 422),
    ("ORA-30006", "resource busy", 503),
    ("ORA-16000", "database or pluggable database open for read-only access", 503),
    ("ORA-00942", "table or view does not exist", 503),
    ("DPY-4024", "call timeout of 8000 ms exceeded", 504),
    ("ORA-00600", "internal error", 500),
]


@pytest.mark.parametrize(("code", "text", "status"), ANSWERS, ids=lambda value: str(value))
async def test_error_of_the_database_is_a_problem(
    recorder: Recorder, recorded_client: AsyncClient, code: str, text: str, status: int
) -> None:
    fail_once(recorder, "INSERT", oracle_error(code, f"{text} confidential"))

    response = await recorded_client.post("/probes", json={"name": "x"})

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "confidential" not in response.text
    assert "COMMIT" not in recorder.sent


async def test_writers_leave_a_server_that_became_a_standby(
    recorder: Recorder, recorded_client: AsyncClient
) -> None:
    before = len(recorder.connections)
    fail_once(recorder, "INSERT", oracle_error("ORA-16000"))

    assert (await recorded_client.post("/probes", json={"name": "x"})).status_code == 503
    assert (await recorded_client.post("/probes", json={"name": "x"})).status_code == 201
    assert len(recorder.connections) == before + 1


@pytest.mark.parametrize(("outcome", "status"), [(0, 201), (1, 409), (4, 201)])
async def test_idempotency_key_is_a_lock_of_the_transaction(
    recorder: Recorder, recorded_client: AsyncClient, outcome: int, status: int
) -> None:
    recorder.given = outcome

    response = await recorded_client.post(
        "/probes", json={"name": "x"}, headers={"Idempotency-Key": "1"}
    )

    assert response.status_code == status
    lock = next(i for i, s in enumerate(recorder.sent) if "DBMS_LOCK.REQUEST" in s)
    parameters = recorder.parameters[lock]
    assert parameters["name"] == "Idempotency-Key 1"
    assert (parameters["seconds"], parameters["in_transaction"]) == (0, 1)


async def test_schema_lock_is_held_by_a_connection_of_its_own(
    recorder: Recorder,
) -> None:
    engine = create_engine(make_settings(URL), "migrate")
    recorder.given = 1

    def release(statement: str) -> None:
        # The second request succeeds.
        if "DBMS_LOCK.REQUEST" in statement:
            recorder.given = 0

    recorder.fail = release
    async with schema_lock(engine):
        assert [connection.recorder for connection in recorder.connections] == [recorder]
        requests = [s for s in recorder.sent if "DBMS_LOCK.REQUEST" in s]
    assert len(requests) == 2


async def test_missing_lock_privilege_is_one_line(recorder: Recorder) -> None:
    engine = create_engine(make_settings(URL), "migrate")
    error = oracle_error("ORA-06550", "PLS-00201: identifier 'DBMS_LOCK' must be declared")
    fail_once(recorder, "BEGIN :outcome", error)

    with pytest.raises(SettingsError, match=r"GRANT EXECUTE ON SYS\.DBMS_LOCK TO app"):
        async with schema_lock(engine):
            pass


async def test_values_are_sent_with_types_that_lose_nothing(
    recorder: Recorder, recorded_client: AsyncClient
) -> None:
    await recorded_client.post("/probes", json={"name": "x"}, headers={"Idempotency-Key": "1"})

    # Without types, times would be sent in whole seconds, and long text or bytes truncated.
    assert recorder.types["created_at"] is oracledb.DB_TYPE_TIMESTAMP
    assert recorder.types["body"] is oracledb.DB_TYPE_RAW


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ORA-00001", ErrorKind.UNIQUE),
        ("ORA-02292", ErrorKind.FOREIGN_KEY),
        ("ORA-01400", ErrorKind.INVALID),
        ("ORA-01438", ErrorKind.INVALID),
        ("ORA-02290", ErrorKind.INVALID),
        ("ORA-00054", ErrorKind.RESOURCE_EXHAUSTED),
        ("ORA-12541", ErrorKind.DISCONNECTED),
        ("ORA-12514", ErrorKind.DISCONNECTED),
        ("DPY-6001", ErrorKind.DISCONNECTED),
        ("DPY-6005", ErrorKind.DISCONNECTED),
        ("ORA-01017", ErrorKind.UNAVAILABLE),
        ("ORA-28000", ErrorKind.UNAVAILABLE),
        ("ORA-00904", ErrorKind.SCHEMA),
        ("ORA-01013", ErrorKind.TIMEOUT),
        ("ORA-01456", ErrorKind.READ_ONLY),
        ("ORA-99999", None),
    ],
)
def test_codes_have_kinds(code: str, kind: ErrorKind | None) -> None:
    assert classify_driver_error(oracle_error(code)) is kind


@pytest.mark.parametrize(
    "text",
    [
        "unique constraint (APP.PK_IDEMPOTENCY_KEYS) violated",
        "unique constraint (APP.PK_IDEMPOTENCY_KEYS) violated on table APP.IDEMPOTENCY_KEYS "
        "columns (KEY)",
    ],
    ids=["before 23", "since 23"],
)
def test_violated_constraint_names_its_columns(text: str) -> None:
    assert violated_columns(oracle_error("ORA-00001", text)) == ["idempotency_keys.key"]


def test_other_errors_name_no_columns() -> None:
    assert violated_columns(oracle_error("ORA-00001", "unique constraint (A.B) violated")) == []
    assert violated_columns(oracle_error("ORA-00060")) == []
    assert violated_columns(ValueError("ORA-00001: (APP.PK_IDEMPOTENCY_KEYS)")) == []


def test_generated_ids_are_no_difference_to_the_models() -> None:
    column: Any = {"name": "id", "type": BigInteger(), "identity": {"always": False}}
    table = Table("idempotency_keys", MetaData())

    table.dispatch.column_reflect(None, table, column)

    assert "identity" not in column
    identities = [c for t in Base.metadata.tables.values() for c in t.columns if c.identity]
    assert identities == []


@pytest.mark.parametrize("prefix", ["oracle://", "oracle+oracledb_async://"])
def test_short_name_of_the_database_is_accepted(prefix: str) -> None:
    url = parse_database_url(f"{prefix}u:p@h?service_name=s")

    assert url.drivername == "oracle+oracledb_async"


def test_password_of_any_characters_reaches_the_driver() -> None:
    password = "".join(map(chr, range(32, 127))) + "é€😀"
    url = f"oracle://user:{quote(password, safe='')}@host:1521?service_name=service"
    engine = create_engine(make_settings(url), "write")

    _, arguments = engine.dialect.create_connect_args(engine.url)

    assert arguments["password"] == password
    assert quote(password, safe="") not in repr(engine)
    assert "SERVICE_NAME=service" in arguments["dsn"]


@pytest.mark.parametrize(("size", "overflow"), [(1, 0), (2, 0), (5, 10), (7, 3), (20, 1)])
def test_pool_settings_bound_both_engines_together(size: int, overflow: int) -> None:
    database = Database(
        make_settings(
            URL,
            database_pool_size=size,
            database_max_overflow=overflow,
            database_pool_timeout=2.5,
            database_pool_recycle=77,
            database_pool_pre_ping=True,
        )
    )
    pools = [cast(QueuePool, engine.pool) for engine in (database.writer, database.reader)]

    # Each needs one connection at least.
    assert sum(pool.size() for pool in pools) == max(2, size)
    assert sum(pool._max_overflow for pool in pools) == overflow
    for pool in pools:
        assert (pool.timeout(), pool._recycle, pool._pre_ping) == (2.5, 77, True)
