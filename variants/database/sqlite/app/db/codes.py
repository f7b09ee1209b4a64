"""What SQLite's errors mean. The names are those of https://www.sqlite.org/rescode.html."""

import re
import sqlite3

from app.db.kinds import Kind

KINDS = {
    "SQLITE_CONSTRAINT_UNIQUE": Kind.UNIQUE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": Kind.UNIQUE,
    "SQLITE_CONSTRAINT_FOREIGNKEY": Kind.FOREIGN_KEY,
    "SQLITE_CONSTRAINT_CHECK": Kind.INVALID,
    "SQLITE_CONSTRAINT_NOTNULL": Kind.INVALID,
    "SQLITE_MISMATCH": Kind.INVALID,
    "SQLITE_RANGE": Kind.INVALID,
    "SQLITE_TOOBIG": Kind.INVALID,
    "SQLITE_BUSY": Kind.SATURATED,
    "SQLITE_BUSY_SNAPSHOT": Kind.SATURATED,
    "SQLITE_BUSY_TIMEOUT": Kind.SATURATED,
    "SQLITE_LOCKED": Kind.SATURATED,
    "SQLITE_FULL": Kind.SATURATED,
    "SQLITE_NOMEM": Kind.SATURATED,
    "SQLITE_INTERRUPT": Kind.TIMEOUT,
    "SQLITE_CANTOPEN": Kind.UNAVAILABLE,
    "SQLITE_CORRUPT": Kind.UNAVAILABLE,
    "SQLITE_IOERR": Kind.UNAVAILABLE,
    "SQLITE_NOTADB": Kind.UNAVAILABLE,
    "SQLITE_PERM": Kind.UNAVAILABLE,
    "SQLITE_READONLY": Kind.READ_ONLY,
}


def kind_of_driver_error(error: BaseException) -> Kind | None:
    """The kind of an error that the driver raised; None if it is none of the driver's."""
    if isinstance(error, sqlite3.Error):
        name: str | None = getattr(error, "sqlite_errorname", None)
        if name in KINDS:
            return KINDS[name]
        # Extended codes begin with the name of the code that they refine.
        primary = "_".join(name.split("_")[:2]) if name else None
        if primary in KINDS:
            return KINDS[primary]
        if str(error).startswith(("no such table", "no such column")):
            return Kind.SCHEMA
        if str(error) in ("no active connection", "Connection closed"):
            return Kind.DISCONNECTED
    if isinstance(error, OverflowError | UnicodeEncodeError):
        # An integer beyond 64 bits, or text that is not Unicode.
        return Kind.INVALID
    return None


def violated_columns(error: BaseException) -> list[str]:
    """The `table.column` names in the message of a violated UNIQUE or PRIMARY KEY, or none."""
    match = re.match(r"UNIQUE constraint failed: (.+)", str(error))
    return match[1].split(", ") if match and isinstance(error, sqlite3.Error) else []
