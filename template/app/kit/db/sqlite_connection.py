"""SQLite's connections: aiosqlite's, which run in threads of their own, made cheaper and breakable.

A call of such a thread costs more than most statements do. All that is private to aiosqlite is used
here; that is why the range of its versions is narrow.
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

# So many rows come with the statement; who reads more, or as a stream, has them fetched.
FIRST_ROWS = 1024


def connect(database: str, statement_timeout: float | None, **options: Any) -> Connection:
    """What aiosqlite's `connect` does; the options are those of `sqlite3.connect`. A statement that
    takes more than `statement_timeout` seconds is interrupted; None: it may take any time."""
    connector = partial(sqlite3.connect, database, **options)
    connection = Connection(connector, FIRST_ROWS, statement_timeout)
    # Like those that SQLAlchemy makes, it must not keep a process alive.
    connection._thread.daemon = True
    return connection


class Cursor(aiosqlite.Cursor):
    """Runs a statement and fetches its rows in one call of the thread, where SQLAlchemy and
    aiosqlite take four: for the cursor, the statement, the rows and the end."""

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
        """The next so many rows, or as many as there are."""
        size = size or self.arraysize
        rows, self._rows = self._rows[:size], self._rows[size:]
        if len(rows) < size and not self._all_fetched:
            rows += await self._conn.call(self._cursor.fetchmany, size - len(rows))
            self._all_fetched = len(rows) < size
        return rows

    async def fetchall(self) -> list[Any]:
        """All rows that are left."""
        rows, self._rows = self._rows, []
        if not self._all_fetched:
            rows += await self._conn.call(self._cursor.fetchall)
            self._all_fetched = True
        return rows

    async def close(self) -> None:
        """Forget the rows that are left."""
        self._rows = []
        # SQLite's statement ended with its last row, and with it the locks that it held.
        if not self._all_fetched:
            await self._conn.call(self._cursor.close)
            self._all_fetched = True


class Connection(aiosqlite.Connection):
    """A connection that can be freed from a statement that it runs."""

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
        """A cursor, which costs nothing until it runs a statement."""
        return Cursor(self)

    async def commit(self) -> None:
        """Commit; costs nothing where there is no transaction."""
        if self.in_transaction:
            await super().commit()

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the connection's thread, which runs a statement."""
        calling = self._execute(function, *arguments)  # type: ignore[no-untyped-call]
        if self._statement_timeout is None:
            return cast(T, await calling)
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self._statement_timeout, self.abort)
        try:
            return cast(T, await calling)
        finally:
            limit.cancel()

    def new_cursor(self) -> sqlite3.Cursor:
        """What a cursor runs its statement with, in the connection's thread."""
        cursor = self._conn.cursor()
        self._cursors.add(cursor)
        return cursor

    @property
    def closed(self) -> bool:
        """Whether there is no database behind it."""
        return self._connection is None

    def abort(self) -> None:
        """Interrupt the statement that it runs: whoever waits for it gets an error."""
        sqlite = self._connection
        if sqlite is not None:
            # Its thread may have closed it meanwhile.
            with suppress(sqlite3.ProgrammingError):
                sqlite.interrupt()

    def roll_back_soon(self) -> None:
        """Interrupt the statement that it runs, and roll back as soon as that has ended.

        The statement of a request that was cancelled runs on in the thread; its locks would stay
        until the garbage collector comes.
        """
        sqlite = self._connection
        if sqlite is None:
            # Its thread has ended, and would never answer.
            return
        ended = threading.Event()

        def roll_back() -> None:
            ended.set()
            # An interruption lasts until the last cursor with rows left to give is closed. And such
            # a cursor would keep the locks of a connection that is closed.
            for cursor in list(self._cursors):
                cursor.close()
            while True:
                try:
                    sqlite.rollback()
                    return
                except sqlite3.OperationalError as error:
                    # The last interruption may have come too late.
                    if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                        raise

        self._tx.put_nowait((None, roll_back))
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            # Again and again, because it does nothing to a statement that is about to begin.
            if not ended.is_set():
                self.abort()
                loop.call_later(0.01, interrupt)

        interrupt()
