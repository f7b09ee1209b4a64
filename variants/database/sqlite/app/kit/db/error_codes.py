"""Kinds of SQLite's errors. The names are those of https://www.sqlite.org/rescode.html."""

import re
import sqlite3

from app.kit.db.error_kinds import ErrorKind

KINDS = {
    "SQLITE_CONSTRAINT_UNIQUE": ErrorKind.UNIQUE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": ErrorKind.UNIQUE,
    "SQLITE_CONSTRAINT_FOREIGNKEY": ErrorKind.FOREIGN_KEY,
    "SQLITE_CONSTRAINT_CHECK": ErrorKind.INVALID,
    "SQLITE_CONSTRAINT_NOTNULL": ErrorKind.INVALID,
    "SQLITE_MISMATCH": ErrorKind.INVALID,
    "SQLITE_RANGE": ErrorKind.INVALID,
    "SQLITE_TOOBIG": ErrorKind.INVALID,
    "SQLITE_BUSY": ErrorKind.RESOURCE_EXHAUSTED,
    "SQLITE_BUSY_SNAPSHOT": ErrorKind.RESOURCE_EXHAUSTED,
    "SQLITE_BUSY_TIMEOUT": ErrorKind.RESOURCE_EXHAUSTED,
    "SQLITE_LOCKED": ErrorKind.RESOURCE_EXHAUSTED,
    "SQLITE_FULL": ErrorKind.RESOURCE_EXHAUSTED,
    "SQLITE_NOMEM": ErrorKind.RESOURCE_EXHAUSTED,
    "SQLITE_INTERRUPT": ErrorKind.TIMEOUT,
    "SQLITE_CANTOPEN": ErrorKind.UNAVAILABLE,
    "SQLITE_CORRUPT": ErrorKind.UNAVAILABLE,
    "SQLITE_IOERR": ErrorKind.UNAVAILABLE,
    "SQLITE_NOTADB": ErrorKind.UNAVAILABLE,
    "SQLITE_PERM": ErrorKind.UNAVAILABLE,
    "SQLITE_READONLY": ErrorKind.READ_ONLY,
}


def classify_driver_error(error: BaseException) -> ErrorKind | None:
    """The kind of a driver's error; None for other and unknown errors."""
    if isinstance(error, sqlite3.Error):
        name: str | None = getattr(error, "sqlite_errorname", None)
        if name in KINDS:
            return KINDS[name]
        # The name of an extended code starts with that of its primary code.
        primary = "_".join(name.split("_")[:2]) if name else None
        if primary in KINDS:
            return KINDS[primary]
        if str(error).startswith(("no such table", "no such column")):
            return ErrorKind.SCHEMA
        if str(error) in ("no active connection", "Connection closed"):
            return ErrorKind.DISCONNECTED
    if isinstance(error, OverflowError | UnicodeEncodeError):
        # An integer of more than 64 bits, or a lone surrogate.
        return ErrorKind.INVALID
    return None


def violated_columns(error: BaseException) -> list[str]:
    """The `table.column` names of a violated UNIQUE or PRIMARY KEY; empty if unknown."""
    match = re.match(r"UNIQUE constraint failed: (.+)", str(error))
    return match[1].split(", ") if match and isinstance(error, sqlite3.Error) else []
