"""A fake driver that records every statement instead of sending it.

It shows what would be sent, with options and in order, but not how a server would respond. A SELECT
returns no rows unless `rows` has some for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import oracledb

Row = Sequence[Any]


class Recorder:
    """All connections to the fake server, and what was sent to it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        """Every statement, with normalized white space; and COMMIT and ROLLBACK."""
        self.parameters: list[Any] = []
        """The parameters of each."""
        self.types: dict[str, Any] = {}
        """The driver's type of each parameter that has one."""
        self.rows: list[tuple[str, Row]] = []
        """Rows to return: the beginning of a statement, and a row."""
        self.given = 0
        """Values of out parameters: an id, or the result of a lock request."""
        self.connections: list[RecordedConnection] = []
        self.options: dict[str, Any] = {}
        """The options of the last connection."""
        self.fail: Callable[[str], None] = lambda statement: None
        """Called with each statement; the driver raises its exceptions."""

    async def connect(self, **options: Any) -> RecordedConnection:
        """Replaces `oracledb.connect_async`, and rejects the same options."""
        dsn = options.pop("dsn")
        oracledb.ConnectParams(**options).parse_connect_string(dsn)
        self.options = options
        self.connections.append(RecordedConnection(self))
        return self.connections[-1]

    def note(self, statement: str, parameters: Any = None) -> str:
        """Record a statement."""
        statement = " ".join(statement.split())
        self.sent.append(statement)
        self.parameters.append(parameters)
        self.fail(statement)
        return statement

    def forget(self) -> None:
        """Reset the recorder."""
        self.sent.clear()
        self.parameters.clear()


class RecordedConnection:
    """What SQLAlchemy uses of the driver's `AsyncConnection`."""

    version = "23.26.0.0.0"
    max_identifier_length = 128
    autocommit = False
    stmtcachesize = 20
    outputtypehandler: Any = None
    call_timeout = 0
    healthy = True

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def is_healthy(self) -> bool:
        return self.healthy

    def cancel(self) -> None:
        pass

    def cursor(self) -> RecordedCursor:
        return RecordedCursor(self.recorder)

    async def ping(self) -> None:
        self.recorder.note("ping")

    async def commit(self) -> None:
        self.recorder.note("COMMIT")

    async def rollback(self) -> None:
        self.recorder.note("ROLLBACK")

    async def close(self) -> None:
        pass

    def terminate(self) -> None:
        pass


class RecordedVariable:
    """An out parameter: an id, or the result of a lock request."""

    def __init__(self, value: Any) -> None:
        self.values = [[value]]

    def getvalue(self, position: int = 0) -> Any:
        return self.values[position][0]


class RecordedCursor:
    """What SQLAlchemy uses of the driver's `AsyncCursor`."""

    # What SQLAlchemy asks a server about at the first connection.
    FACTS = (
        ("SELECT sys_context", ("APP",)),
        ("SELECT 1.1 FROM DUAL", ("1.1",)),
        ("SELECT CASE BITAND", ("READ COMMITTED",)),
    )

    arraysize = 100
    outputtypehandler: Any = None
    rowcount = 1

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.description: list[tuple[Any, ...]] | None = None
        self._rows: list[Row] = []

    async def __aenter__(self) -> RecordedCursor:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def setinputsizes(self, *sizes: Any, **named: Any) -> None:
        self.recorder.types |= named

    def var(self, kind: Any, *arguments: Any, **options: Any) -> RecordedVariable:
        return RecordedVariable("1.1.1" if kind is str else self.recorder.given)

    async def execute(self, statement: str, parameters: Any = None) -> None:
        statement = self.recorder.note(statement, parameters)
        if re.match("SELECT|WITH", statement, re.IGNORECASE):
            found = [
                r
                for start, r in (*self.FACTS, *self.recorder.rows)
                if start.lower() in statement.lower()
            ]
            self._rows = found
            width = len(found[0]) if found else columns(statement)
            self.description = [(f"C{n}", None, None, None, None, 0, True) for n in range(width)]

    async def executemany(self, statement: str, parameters: Any) -> None:
        self.recorder.note(statement, parameters)
        self.rowcount = len(parameters)

    async def fetchall(self) -> list[Row]:
        return self._rows

    def close(self) -> None:
        pass


def columns(statement: str) -> int:
    """The number of columns of a SELECT."""
    listed = re.split(r"\bFROM\b", statement, maxsplit=1)[0]
    while re.search(r"\([^()]*\)", listed):
        listed = re.sub(r"\([^()]*\)", "", listed)
    return listed.count(",") + 1
