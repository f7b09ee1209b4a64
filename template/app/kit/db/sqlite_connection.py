"""SQLite connections: aiosqlite's, with fewer calls of their thread, and interruptible.

A call of that thread costs more than most statements. This module uses private attributes of
aiosqlite, so the range of its versions is narrow.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar, cast
from weakref import WeakSet

import aiosqlite

T = TypeVar("T")

# Number of rows that are fetched with the statement.
FIRST_ROWS = 1024


def connect(database: str, statement_timeout: float | None, **options: Any) -> Connection:
    """As aiosqlite's `connect`; the options are those of `sqlite3.connect`. A statement is
    interrupted after `statement_timeout` seconds; None: no limit."""
    connector = partial(sqlite3.connect, database, **options)
    connection = Connection(connector, FIRST_ROWS, statement_timeout)
    # As SQLAlchemy does: the thread must not keep the process alive.
    connection._thread.daemon = True
    return connection


class Cursor(aiosqlite.Cursor):
    """Runs a statement and fetches its rows in one call of the thread, instead of four: for the
    cursor, the statement, the rows and the close."""

    def __init__(self, connection: Connection) -> None:
        self.iter_chunk_size = FIRST_ROWS
        self._conn: Connection = connection
        self._rows: list[Any] = []
        self._all_fetched = True

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Self:
        """Run a statement."""
        await self._conn.call(self._run, sqlite3.Cursor.execute, sql, parameters or ())
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Run a statement for each of the parameters."""
        await self._conn.call(self._run, sqlite3.Cursor.executemany, sql, parameters)
        return self

    def _run(self, run: Callable[..., Any], sql: str, parameters: Iterable[Any]) -> None:
        self._cursor = self._conn.new_cursor()
        self._all_fetched = False
        run(self._cursor, sql, parameters)
        self._rows = self._cursor.fetchmany(FIRST_ROWS)
        self._all_fetched = len(self._rows) < FIRST_ROWS

    async def fetchone(self) -> Any:
        """The next row; None after the last."""
        rows = await self.fetchmany(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next `size` rows, or fewer at the end."""
        size = size or self.arraysize
        rows, self._rows = self._rows[:size], self._rows[size:]
        if len(rows) < size and not self._all_fetched:
            rows += await self._conn.call(self._cursor.fetchmany, size - len(rows))
            self._all_fetched = len(rows) < size
        return rows

    async def fetchall(self) -> list[Any]:
        """All remaining rows."""
        rows, self._rows = self._rows, []
        if not self._all_fetched:
            rows += await self._conn.call(self._cursor.fetchall)
            self._all_fetched = True
        return rows

    async def close(self) -> None:
        """Discard the remaining rows."""
        self._rows = []
        # After its last row, a statement has ended and holds no locks.
        if not self._all_fetched:
            await self._conn.call(self._cursor.close)
            self._all_fetched = True


class Connection(aiosqlite.Connection):
    """A connection whose running statement can be interrupted."""

    def __init__(
        self,
        connector: Callable[[], sqlite3.Connection],
        iter_chunk_size: int,
        statement_timeout: float | None = None,
    ) -> None:
        super().__init__(connector, iter_chunk_size)
        self._statement_timeout = statement_timeout
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self) -> Cursor:  # type: ignore[override]
        """A cursor; it calls the thread only when it runs a statement."""
        return Cursor(self)

    async def commit(self) -> None:
        """Commit; does nothing without a transaction."""
        if self.in_transaction:
            await super().commit()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function that runs a statement, in the connection's thread."""
        result = self._execute(function, *arguments)  # type: ignore[no-untyped-call]
        if self._statement_timeout is None:
            return cast(T, await result)
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self._statement_timeout, self.abort)
        try:
            return cast(T, await result)
        finally:
            limit.cancel()

    def new_cursor(self) -> sqlite3.Cursor:
        """A cursor of `sqlite3`; called in the connection's thread."""
        cursor = self._conn.cursor()
        self._cursors.add(cursor)
        return cursor

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._connection is None

    def abort(self) -> None:
        """Interrupt the running statement: its caller gets an error."""
        sqlite = self._connection
        if sqlite is not None:
            # The thread may have closed it in the meantime.
            with suppress(sqlite3.ProgrammingError):
                sqlite.interrupt()

    def rollback_nowait(self) -> None:
        """Interrupt the running statement, and roll back as soon as it has ended.

        After the cancellation of a request, its statement continues in the thread, and would hold
        its locks until the connection is garbage-collected.
        """
        sqlite = self._connection
        if sqlite is None:
            # The thread has ended.
            return
        ended = threading.Event()

        def rollback() -> None:
            ended.set()
            # An interrupt stays in effect until the last cursor with remaining rows is closed, and
            # such a cursor would hold the locks of a closed connection.
            for cursor in list(self._cursors):
                cursor.close()
            while True:
                try:
                    sqlite.rollback()
                    return
                except sqlite3.OperationalError as error:
                    # A late interrupt may have hit the ROLLBACK.
                    if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                        raise

        self._tx.put_nowait((None, rollback))
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            # Repeatedly, because an interrupt has no effect on a statement that has not begun.
            if not ended.is_set():
                self.abort()
                loop.call_later(0.01, interrupt)

        interrupt()
