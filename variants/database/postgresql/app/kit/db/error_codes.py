"""Kinds of PostgreSQL's errors, by SQLSTATE.

The codes are those of https://www.postgresql.org/docs/current/errcodes-appendix.html; the first two
characters are the class.
"""

import asyncpg
from sqlalchemy import Index
from sqlalchemy.schema import ColumnCollectionConstraint

from app.kit.db.base import Base
from app.kit.db.error_kinds import ErrorKind

KINDS = {
    "08": ErrorKind.DISCONNECTED,  # connection exception
    "22": ErrorKind.INVALID,  # data exception: out of range, too long, not in the encoding
    "23502": ErrorKind.INVALID,  # not_null_violation
    "23503": ErrorKind.FOREIGN_KEY,
    "23505": ErrorKind.UNIQUE,
    "23514": ErrorKind.INVALID,  # check_violation
    "23P01": ErrorKind.UNIQUE,  # exclusion_violation
    "25006": ErrorKind.READ_ONLY,  # read_only_sql_transaction
    "25P03": ErrorKind.DISCONNECTED,  # idle_in_transaction_session_timeout
    "28": ErrorKind.UNAVAILABLE,  # invalid authorization: wrong user or password
    "3D000": ErrorKind.UNAVAILABLE,  # no such database
    "3F000": ErrorKind.SCHEMA,  # no such schema
    "40001": ErrorKind.SERIALIZATION,
    "40P01": ErrorKind.SERIALIZATION,  # deadlock_detected
    "42703": ErrorKind.SCHEMA,  # undefined_column
    "42P01": ErrorKind.SCHEMA,  # undefined_table
    "53": ErrorKind.RESOURCE_EXHAUSTED,  # insufficient resources: connections, memory, disk
    "54": ErrorKind.INVALID,  # program limit exceeded
    "55P03": ErrorKind.RESOURCE_EXHAUSTED,  # lock_not_available
    "57014": ErrorKind.TIMEOUT,  # query_canceled
    "57P": ErrorKind.DISCONNECTED,  # shutdown, crash, start-up
    "58": ErrorKind.UNAVAILABLE,  # system error of the server
}


def classify_driver_error(error: BaseException) -> ErrorKind | None:
    """The kind of a driver's error; None for other and unknown errors."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # The schema has changed; a retry prepares the statement again.
        return ErrorKind.SERIALIZATION
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        for length in (5, 3, 2):
            if sqlstate[:length] in KINDS:
                return KINDS[sqlstate[:length]]
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return ErrorKind.DISCONNECTED
    # Out of sync with the server, or used after the server closed it. (Other InterfaceErrors are
    # bugs of the caller.)
    closed = isinstance(error, asyncpg.InterfaceError) and "closed" in str(error)
    lost = closed or isinstance(error, asyncpg.InternalClientError)
    return ErrorKind.DISCONNECTED if lost else None


def violated_columns(error: BaseException) -> list[str]:
    """The `table.column` names of a violated unique constraint or index; empty if unknown."""
    name = getattr(error, "constraint_name", None)
    if name is None:
        return []
    for table in Base.metadata.tables.values():
        for constraint in (*table.constraints, *table.indexes):
            if (
                isinstance(constraint, ColumnCollectionConstraint | Index)
                and constraint.name == name
            ):
                return [f"{table.name}.{column.name}" for column in constraint.columns]
    return []
