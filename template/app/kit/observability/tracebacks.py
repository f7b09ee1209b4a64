"""Tracebacks for the log, without the values that exception messages quote.

A message of a database may contain values (`DETAIL: Key (email)=(…) already exists`), and a
validation error contains its input. Other messages, such as SQLAlchemy's usage errors, are kept.
"""

from traceback import TracebackException

from fastapi.exceptions import ValidationException
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError, StatementError

WITHHELD = "(message withheld: it may quote values)"
# The names of the base classes of errors in drivers; PEP 249 has most of them.
DRIVER_ERRORS = {"DatabaseError", "InterfaceError", "PostgresError"}


def format_traceback(error: BaseException, *, withhold: bool) -> str:
    """The traceback of an exception, its causes and the members of its group.

    Args:
        error: The exception.
        withhold: Whether to omit messages that may quote values; True except in development.
    """
    trace = TracebackException(type(error), error, error.__traceback__)
    if withhold:
        _withhold(trace, error, False)
    return "".join(trace.format()).rstrip()


def _withhold(
    trace: TracebackException | None, error: BaseException | None, below_statement: bool
) -> None:
    if trace is None or error is None:
        return
    if isinstance(error, StatementError):
        # Its causes, in column types and drivers, may quote the statement's values.
        below_statement = not isinstance(error.orig, SQLAlchemyError)
    if below_statement or DRIVER_ERRORS & {base.__name__ for base in type(error).__mro__}:
        trace._str = WITHHELD  # type: ignore[attr-defined]
    elif isinstance(error, ValidationError | ValidationException):
        places = (f"{'.'.join(map(str, item['loc']))}: {item['type']}" for item in error.errors())
        trace._str = "; ".join(places)  # type: ignore[attr-defined]
    _withhold(trace.__cause__, error.__cause__, below_statement)
    _withhold(trace.__context__, error.__context__, below_statement)
    if isinstance(error, BaseExceptionGroup):
        for inner, member in zip(trace.exceptions or (), error.exceptions, strict=False):
            _withhold(inner, member, below_statement)
