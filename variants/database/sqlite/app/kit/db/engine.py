"""Engines for SQLite.

SQLite has one writer at a time and any number of readers. So the writing engine has a single
connection, for which writers queue, and a transaction takes the write lock when it begins. Readers
have their own connections and, with the write-ahead log, never wait for a writer.
"""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from app.kit.db.base import serialize_json
from app.kit.db.pool import Isolation, Role, pool_options
from app.kit.db.sqlite_connection import connect
from app.kit.settings import KitSettings, SettingsError

# An in-memory database that all connections of the process share (SQLite's memdb VFS, 3.36). Unlike
# with a shared cache, a reader waits for a writer instead of failing.
SHARED_MEMORY = "file:/memory"

# A single statement needs no transaction, whose begin and end each take a call of the driver's
# thread.
OUTSIDE_TRANSACTIONS = {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}


def create_engine(settings: KitSettings, role: Role) -> AsyncEngine:
    """Create the engine for a role. It opens no file before the first use.

    Raises:
        SettingsError: The folder of the database file does not exist.
    """
    url = settings.database_url
    in_memory = url.database in (None, "", ":memory:")
    if in_memory:
        url = url.set(database=SHARED_MEMORY, query={"vfs": "memdb", "uri": "true"})
    else:
        _check_folder(url)
    writes = role in ("write", "migrate")
    engine = create_async_engine(
        url,
        **pool_options(settings, role),
        echo=settings.database_echo,
        # Values of statements must not appear in logs and tracebacks.
        hide_parameters=True,
        json_serializer=serialize_json,
        connect_args={
            "async_creator_fn": connect,
            "timeout": settings.database_lock_timeout,
            "statement_timeout": None if role == "migrate" else settings.database_statement_timeout,
        },
        **({} if writes else OUTSIDE_TRANSACTIONS),
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, record: object) -> None:
        # Disables the driver's implicit BEGIN, which does not cover SELECT and DDL.
        connection.isolation_level = None
        cursor = connection.cursor()
        _use_write_ahead_log(cursor, settings.database_lock_timeout)
        # A migration that rebuilds a table drops the old one, which would delete referencing rows.
        cursor.execute(f"PRAGMA foreign_keys={'OFF' if role == 'migrate' else 'ON'}")
        cursor.execute(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if writes:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif options.get("isolation_level") == "SERIALIZABLE":
            connection.exec_driver_sql("BEGIN DEFERRED")

    event.listen(engine.sync_engine, "commit", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _handle_error)
    event.listen(engine.sync_engine, "invalidate", _release_locks)
    if in_memory:
        _keep_in_memory(engine)
    return engine


def transaction_options(isolation: Isolation, role: Role) -> dict[str, Any]:
    """The execution options of a connection whose transaction has an isolation level."""
    # A transaction sees one snapshot at every level, and writers take turns.
    return {"isolation_level": "SERIALIZABLE"} if role == "read" else {}


@asynccontextmanager
async def schema_lock(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection that may change the schema: its transaction holds SQLite's only write lock."""
    async with engine.connect() as connection:
        yield connection


async def try_lock(session: AsyncSession, name: str) -> bool:
    """Take a lock until the transaction ends; True: the transaction is the only writer already."""
    return True


def abort(connection: Any) -> None:
    """Interrupt the running statement of a connection: its caller gets an error."""
    connection.abort()


def _check_folder(url: URL) -> None:
    database = url.database or ""
    folder = Path(database).parent
    if not database.startswith("file:") and not folder.is_dir():
        raise SettingsError(
            f"DATABASE_URL: the folder {folder.absolute()} does not exist. Create it, "
            "or name a file in a folder that does (sqlite+aiosqlite:////absolute/path/app.db)."
        )


def _use_write_ahead_log(cursor: Any, timeout: float) -> None:
    # Persistent. SQLite's busy timeout does not apply here, so that concurrent first connections to
    # a new database would fail.
    end = time.monotonic() + timeout
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("ROLLBACK")


def _refuse_closed(connection: Connection) -> None:
    # SQLAlchemy would silently skip the COMMIT on a closed connection.
    driver = connection.connection.driver_connection
    if driver is None or driver.closed:
        connection.invalidate()
        raise sqlite3.OperationalError("Connection closed")


def _handle_error(context: ExceptionContext) -> BaseException | None:
    error = context.original_exception
    if isinstance(error, OverflowError | UnicodeEncodeError):
        # The driver's errors for values that no column can store; SQLAlchemy does not wrap them.
        return DataError(None, None, error)
    if isinstance(error, sqlite3.Error) and not context.statement and context.connection:
        # A failed COMMIT, because of a deferred foreign key or a full disk, leaves the transaction
        # open, but SQLAlchemy considers it ended, and the next BEGIN would fail.
        context.connection.connection.rollback()
    elif isinstance(error, sqlite3.Error) and _was_rolled_back(context.connection):
        # A full disk or an interrupt has rolled back the whole transaction: later statements would
        # be committed without the earlier ones.
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
    return None


def _was_rolled_back(connection: Connection | None) -> bool:
    """Whether SQLite has rolled back the transaction."""
    if connection is None or not connection.in_transaction():
        return False
    options = connection.get_execution_options()
    driver = connection.connection.driver_connection
    outside = options.get("isolation_level") == "AUTOCOMMIT"
    return not (driver is None or outside or driver.closed or driver.in_transaction)


def _release_locks(connection: Any, record: object, error: BaseException | None) -> None:
    connection.driver_connection.rollback_nowait()


def _keep_in_memory(engine: AsyncEngine) -> None:
    # The database exists while a connection to it is open.
    anchor = sqlite3.connect(f"{SHARED_MEMORY}?vfs=memdb", uri=True, check_same_thread=False)

    @event.listens_for(engine.sync_engine, "engine_disposed")
    def close_anchor(engine: Engine) -> None:
        anchor.close()
