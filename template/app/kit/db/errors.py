"""From an exception to its kind, wherever in the chain of causes the driver's error is."""

import re
from collections.abc import Iterator

from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm.exc import StaleDataError

from app.kit.db.base import Base
from app.kit.db.error_codes import classify_driver_error, violated_columns
from app.kit.db.error_kinds import ErrorKind

# What drivers raise as well, but others do, too.
NOT_OF_A_DRIVER = (OSError, ValueError, ArithmeticError)


class DatabaseUnavailableError(Exception):
    """The database has been unavailable for so long that nothing was tried."""


class AmbiguousCommitError(Exception):
    """The connection was lost while COMMIT was on its way: it may or may not have happened."""


def classify(error: BaseException) -> ErrorKind | None:
    """The kind of a database error; None if it is not one, or one without a kind.

    Only what comes from the database layer is one: an owner's OSError or TimeoutError has no kind.
    The errors of a group must all have one.
    """
    if isinstance(error, BaseExceptionGroup):
        kinds = [classify(each) for each in error.exceptions]
        return None if None in kinds else kinds[0]
    from_database = False
    for cause in exception_chain(error):
        if isinstance(cause, PoolTimeoutError):
            return ErrorKind.RESOURCE_EXHAUSTED
        if isinstance(cause, DatabaseUnavailableError):
            return ErrorKind.DISCONNECTED
        if isinstance(cause, StaleDataError):
            return ErrorKind.STALE if _is_versioned(cause) else ErrorKind.VANISHED
        from_database = from_database or isinstance(cause, SQLAlchemyError)
        if isinstance(cause, NOT_OF_A_DRIVER) and not from_database:
            continue
        if (kind := classify_driver_error(cause)) is not None:
            return kind
        if isinstance(cause, TimeoutError):
            return ErrorKind.TIMEOUT
    return ErrorKind.DISCONNECTED if _is_disconnect(error) else None


def conflicting_columns(error: BaseException) -> list[str]:
    """The names of the columns, without their table, whose values exist already."""
    for cause in exception_chain(error):
        if columns := violated_columns(cause):
            return [column.partition(".")[2] for column in columns]
    return []


def exception_chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, the driver's own error included."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.orig if isinstance(cause, DBAPIError) and cause.orig else cause.__cause__


def _is_versioned(error: StaleDataError) -> bool:
    # SQLAlchemy says it of the table alone.
    match = re.search(r"on table '(?:.+\.)?(.+?)'", str(error))
    return match is not None and any(
        mapper.version_id_col is not None
        for mapper in Base.registry.mappers
        if isinstance(mapper.local_table, Table) and mapper.local_table.name == match[1]
    )


def _is_disconnect(error: BaseException) -> bool:
    return any(
        isinstance(cause, DBAPIError) and cause.connection_invalidated
        for cause in exception_chain(error)
    )
