"""What PostgreSQL's errors mean, by SQLSTATE.

The codes are those of https://www.postgresql.org/docs/current/errcodes-appendix.html; the first two
characters are the class.
"""

import asyncpg
from sqlalchemy import Index
from sqlalchemy.schema import ColumnCollectionConstraint

from app.db.base import Base
from app.db.kinds import Kind

KINDS = {
    "08": Kind.DISCONNECTED,  # connection exception
    "22": Kind.INVALID,  # data exception: out of range, too long, not in the encoding
    "23502": Kind.INVALID,  # not_null_violation
    "23503": Kind.FOREIGN_KEY,
    "23505": Kind.UNIQUE,
    "23514": Kind.INVALID,  # check_violation
    "23P01": Kind.UNIQUE,  # exclusion_violation
    "25006": Kind.READ_ONLY,  # read_only_sql_transaction
    "25P03": Kind.DISCONNECTED,  # idle_in_transaction_session_timeout
    "28": Kind.UNAVAILABLE,  # invalid authorization: wrong user or password
    "3D000": Kind.UNAVAILABLE,  # no such database
    "3F000": Kind.SCHEMA,  # no such schema
    "40001": Kind.SERIALIZATION,
    "40P01": Kind.SERIALIZATION,  # deadlock_detected
    "42703": Kind.SCHEMA,  # undefined_column
    "42P01": Kind.SCHEMA,  # undefined_table
    "53": Kind.SATURATED,  # insufficient resources: connections, memory, disk
    "54": Kind.INVALID,  # program limit exceeded
    "55P03": Kind.SATURATED,  # lock_not_available
    "57014": Kind.TIMEOUT,  # query_canceled
    "57P": Kind.DISCONNECTED,  # shutdown, crash, start-up
    "58": Kind.UNAVAILABLE,  # system error of the server
}


def kind_of_driver_error(error: BaseException) -> Kind | None:
    """The kind of an error that the driver raised; None if it is none of the driver's."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # The schema changed under a prepared statement; the next attempt prepares it anew.
        return Kind.SERIALIZATION
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        for length in (5, 3, 2):
            if sqlstate[:length] in KINDS:
                return KINDS[sqlstate[:length]]
    if isinstance(error, OSError) and not isinstance(error, TimeoutError):
        return Kind.DISCONNECTED
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return Kind.DISCONNECTED
    return None


def violated_columns(error: BaseException) -> list[str]:
    """The `table.column` names of a violated unique constraint or index, or none."""
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
