"""Classification of exceptions by the driver's error in their chain of causes."""

import re
from collections.abc import Iterator

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError

from app.kit.db.base import Base
from app.kit.db.error_codes import classify_driver_error, violated_columns
from app.kit.db.error_kinds import ErrorKind

# Built-in exceptions, which drivers raise, but other code does, too.
NOT_DRIVER_SPECIFIC = (OSError, ValueError, ArithmeticError)


class DatabaseUnavailableError(Exception):
    """The database has been unavailable for a while, so nothing was attempted."""


class AmbiguousCommitError(Exception):
    """The connection was lost during COMMIT: the transaction may or may not have been committed."""


def classify(error: BaseException) -> ErrorKind | None:
    """The kind of a database error; None for other and for unknown errors.

    Only errors of the database layer have a kind: an owner's OSError or TimeoutError has none. A
    group has one if all its members do.
    """
    if isinstance(error, BaseExceptionGroup):
        kinds = [classify(each) for each in error.exceptions]
        return None if None in kinds else kinds[0]
    from_database = disconnected = False
    for cause in exception_chain(error):
        if isinstance(cause, PoolTimeoutError):
            return ErrorKind.RESOURCE_EXHAUSTED
        if isinstance(cause, DatabaseUnavailableError):
            return ErrorKind.DISCONNECTED
        if isinstance(cause, StaleDataError):
            return ErrorKind.STALE if _is_versioned(cause) else ErrorKind.VANISHED
        from_database = from_database or isinstance(cause, SQLAlchemyError)
        disconnected |= isinstance(cause, DBAPIError) and cause.connection_invalidated
        if isinstance(cause, NOT_DRIVER_SPECIFIC) and not from_database:
            continue
        if (kind := classify_driver_error(cause)) is not None:
            return kind
        if isinstance(cause, TimeoutError):
            return ErrorKind.TIMEOUT
    return ErrorKind.DISCONNECTED if disconnected else None


def conflicting_columns(error: BaseException) -> list[str]:
    """The columns of a violated unique constraint, without the table; empty if unknown."""
    for cause in exception_chain(error):
        if columns := violated_columns(cause):
            return [column.partition(".")[2] for column in columns]
    return []


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, including the driver's error."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.orig if isinstance(cause, DBAPIError) and cause.orig else cause.__cause__


def _is_versioned(error: StaleDataError) -> bool:
    # SQLAlchemy reports only the table.
    match = re.search(r"on table '(?:.+\.)?(.+?)'", str(error))
    return match is not None and any(
        mapper.version_id_col is not None
        for mapper in Base.registry.mappers
        if isinstance(mapper.local_table, Table) and mapper.local_table.name == match[1]
    )
