"""Engines for Oracle: all code that depends on the driver, python-oracledb.

The driver's thin mode is used: it needs no client libraries and supports asyncio.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import oracledb
from sqlalchemy import Connection, Inspector, Integer, Table, event, outparam, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn

from app.kit.db.base import serialize_json
from app.kit.db.error_codes import classify_driver_error
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.pool import Isolation, Role, pool_options
from app.kit.db.wait_log import WaitLog
from app.kit.settings import KitSettings, SettingsError

# https://docs.oracle.com/en/database/oracle/oracle-database/23/arpls/DBMS_LOCK.html
# Lock ids are global to the database, so the schema is part of the hashed name. Result 0: acquired;
# 1: held by another session; 4: already held by this session.
REQUEST_LOCK = text(
    """
    BEGIN
        :outcome := DBMS_LOCK.REQUEST(
            id => DBMS_UTILITY.GET_HASH_VALUE(
                SYS_CONTEXT('USERENV', 'CURRENT_SCHEMA') || ' ' || :name, 0, 1073741824
            ),
            lockmode => DBMS_LOCK.X_MODE,
            timeout => :seconds,
            release_on_commit => :in_transaction = 1
        );
    END;
    """
).bindparams(outparam("outcome", Integer()))
TAKEN, HELD_BY_ANOTHER, HELD_ALREADY = 0, 1, 4


def create_engine(settings: KitSettings, role: Role) -> AsyncEngine:
    """Create the engine for a role. It opens no connection before the first use."""
    statement_timeout = 0 if role == "migrate" else settings.database_statement_timeout

    async def connect(*arguments: Any, **options: Any) -> oracledb.AsyncConnection:
        # The driver's own timeout ends when the server has accepted the connection, and it does not
        # wrap all network errors.
        try:
            async with asyncio.timeout(settings.database_connect_timeout):
                connection: oracledb.AsyncConnection
                connection = await oracledb.connect_async(*arguments, **options)
                return connection
        except OSError as error:
            raise oracledb.OperationalError("cannot connect") from error

    engine = create_async_engine(
        settings.database_url,
        echo=settings.database_echo,
        # Values of statements must not appear in logs and tracebacks.
        hide_parameters=True,
        json_serializer=serialize_json,
        **pool_options(settings, role),
        connect_args={
            "async_creator_fn": connect,
            "tcp_connect_timeout": settings.database_connect_timeout,
            "program": _program(settings, role),
        },
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, record: object) -> None:
        # In milliseconds, for each round trip: Oracle has no timeout for statements or row locks.
        connection.driver_connection.call_timeout = round(statement_timeout * 1000)
        cursor = connection.cursor()
        # The driver sends and returns datetimes without an offset; this makes them UTC.
        cursor.execute("ALTER SESSION SET TIME_ZONE = '+00:00'")
        if role == "migrate":
            # By default, DDL does not wait for locks at all.
            seconds = max(1, round(settings.database_lock_timeout))
            cursor.execute(f"ALTER SESSION SET DDL_LOCK_TIMEOUT = {seconds}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "checkout")
    def refuse_closed(connection: Any, record: object, proxy: object) -> None:
        # Takes no round trip, unlike a ping.
        if not connection.driver_connection.is_healthy():
            raise DisconnectionError("the server closed this connection")

    if role == "read":

        @event.listens_for(engine.sync_engine, "begin")
        def begin_reading(connection: Connection) -> None:
            # One snapshot for the whole transaction, and no DML. (DDL commits first, so only
            # privileges prevent it.)
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    @event.listens_for(engine.sync_engine, "handle_error")
    def classify(context: ExceptionContext) -> Exception | None:
        error = context.original_exception
        if isinstance(error, OverflowError | UnicodeEncodeError):
            # The driver's errors for values that no column can store, which SQLAlchemy does not
            # wrap.
            return DataError(None, None, error, hide_parameters=True)
        kind = classify_driver_error(error)
        if kind is ErrorKind.DISCONNECTED or (role == "write" and kind is ErrorKind.READ_ONLY):
            # SQLAlchemy recognizes fewer codes. And after a failover, the former primary may still
            # run as a standby.
            context.is_disconnect = True
        if isinstance(error, OSError):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
            return OperationalError(context.statement, None, error, hide_parameters=True)
        return None

    return engine


def transaction_options(isolation: Isolation, role: Role) -> dict[str, Any]:
    """The execution options of a connection whose transaction has an isolation level."""
    if role == "read":
        return {}  # SET TRANSACTION READ ONLY makes it a snapshot, whatever the level.
    # Oracle's SERIALIZABLE is a snapshot, which is what REPEATABLE READ asks for.
    level = "READ COMMITTED" if isolation == "READ COMMITTED" else "SERIALIZABLE"
    return {"isolation_level": level}


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The connection of the one process that may change the schema; others wait, without limit.

    Raises:
        SettingsError: The user may not use DBMS_LOCK.
    """
    name = "schema"
    waiting = WaitLog("another process, which is changing the schema")
    async with engine.connect() as connection:
        try:
            while await _request_lock(connection, name, seconds=5) == HELD_BY_ANOTHER:
                waiting.log_if_due()
        except DBAPIError as error:
            if "DBMS_LOCK" not in str(error.orig):
                raise
            raise SettingsError(
                "DATABASE_URL: this user may not use DBMS_LOCK, which keeps two processes from "
                "changing the schema at once. An administrator can allow it: "
                f"GRANT EXECUTE ON SYS.DBMS_LOCK TO {engine.url.username}"
            ) from None
        # The lock belongs to the session and ends with it: no pool keeps its connection.
        await connection.commit()
        yield connection


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take a lock until the transaction ends; False: another transaction has it."""
    outcome = await _request_lock(session, name, seconds=0, in_transaction=True)
    return outcome in (TAKEN, HELD_ALREADY)


async def _request_lock(
    where: AsyncConnection | AsyncSession, name: str, *, seconds: int, in_transaction: bool = False
) -> int:
    parameters = {"name": name, "seconds": seconds, "in_transaction": int(in_transaction)}
    result: Any = await where.execute(REQUEST_LOCK, parameters)
    return int(result.out_parameters["outcome"])


def abort(connection: Any) -> None:
    """Interrupt the running statement of a connection: its caller gets an error."""
    if connection.is_healthy():
        connection.cancel()


def _program(settings: KitSettings, role: Role) -> str:
    # Shown in V$SESSION, limited to 48 bytes. The driver rejects some characters.
    return f"{re.sub('[^A-Za-z0-9]+', '-', settings.title)[:40]}-{role}"


# Oracle generates ids only for columns declared as IDENTITY. The next two functions declare primary
# keys so, in tables and migrations, and hide the difference from autogenerate.
@compiles(CreateColumn, "oracle")
def declare_ids(create: CreateColumn, compiler: Any, **options: Any) -> str:
    """Compile a column of CREATE TABLE, with IDENTITY for a generated primary key."""
    column = create.element
    declaration: str = compiler.visit_create_column(create, **options)
    table = column.table
    if column is table.autoincrement_column and column.server_default is None:
        return declaration.replace(" NOT NULL", " GENERATED BY DEFAULT AS IDENTITY NOT NULL")
    return declaration


@event.listens_for(Table, "column_reflect")
def forget_generation(inspector: Inspector, table: Table, column: ReflectedColumn) -> None:
    """Reflect a column without IDENTITY, as models declare it."""
    column.pop("identity", None)
