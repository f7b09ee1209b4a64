"""The two types of session: one for writing, and one that is read-only for the type checker, at run
time and in the database.

A function that only reads takes an `AsyncReadSession`, and works with either; one that writes takes
SQLAlchemy's `AsyncSession`. docs/transactions.md describes what each of them sees.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self, TypeVar, TypeVarTuple, overload

from sqlalchemy import Executable, Result, ScalarResult, TextClause, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction
from sqlalchemy.orm.interfaces import ORMOption
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import TypedReturnsRows

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]

# The start of SQL text that reads. The database itself refuses writes inside a SELECT.
READING_TEXT = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN|PRAGMA|DESC)\b", re.I)


class ReadOnlySessionError(Exception):
    """A session for reading was used to write; use a `WriteSession`."""


class TransactionControlError(Exception):
    """Code that does not own a transaction tried to end or alter it."""


class AsyncReadSession(Protocol):
    """The methods of SQLAlchemy's `AsyncSession` that read."""

    @overload
    async def execute(
        self, statement: TypedReturnsRows[*Ts], params: Parameters | None = None
    ) -> Result[*Ts]: ...
    @overload
    async def execute(
        self, statement: Executable, params: Parameters | None = None
    ) -> Result[*tuple[Any, ...]]: ...

    @overload
    async def scalar(
        self, statement: TypedReturnsRows[T], params: Parameters | None = None
    ) -> T | None: ...
    @overload
    async def scalar(self, statement: Executable, params: Parameters | None = None) -> Any: ...

    @overload
    async def scalars(
        self, statement: TypedReturnsRows[T], params: Parameters | None = None
    ) -> ScalarResult[T]: ...
    @overload
    async def scalars(
        self, statement: Executable, params: Parameters | None = None
    ) -> ScalarResult[Any]: ...

    async def get(
        self, entity: type[T], ident: Any, *, options: Sequence[ORMOption] | None = None
    ) -> T | None:
        """The entity with this primary key, or None."""
        ...

    async def stream(
        self, statement: Executable, params: Parameters | None = None
    ) -> AsyncResult[*tuple[Any, ...]]:
        """Rows as they arrive from the server."""
        ...

    async def connection(self, *, execution_options: Mapping[str, Any] = ...) -> AsyncConnection:
        """The connection; the options apply to a transaction that has not begun yet."""
        ...


def refuse_writing(statement: Executable) -> None:
    """Refuse a statement that is known to write.

    Raises:
        ReadOnlySessionError: It is DML, DDL, or text that does not start like a query.
    """
    if isinstance(statement, TextClause):
        reads = READING_TEXT.match(statement.text) is not None
    else:
        reads = not isinstance(statement, UpdateBase | ExecutableDDLElement)
    if not reads:
        raise ReadOnlySessionError(
            "a session for reading got a statement that writes; use WriteSession"
        )


class ReadOnlySession(Session):
    """The session behind an `AsyncReadSession` whose unit of work does not write."""


@event.listens_for(ReadOnlySession, "before_flush")
def _refuse_flush(session: Session, context: UOWTransaction, instances: object) -> None:
    changed = [*session.new, *session.dirty, *session.deleted]
    if changed:
        model = type(changed[0]).__name__
        raise ReadOnlySessionError(
            f"a session for reading got a {model} to write; use WriteSession"
        )


@event.listens_for(ReadOnlySession, "do_orm_execute")
def _refuse_dml(state: ORMExecuteState) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        raise ReadOnlySessionError(
            "a session for reading got an INSERT, UPDATE or DELETE; use WriteSession"
        )


class WriteSession(AsyncSession):
    """An `AsyncSession` whose transaction only its owner may end."""

    def _refuse(self, call: str) -> NoReturn:
        raise TransactionControlError(
            f"{call} on a session whose transaction belongs to the caller: it is committed after "
            "your code has returned, or rolled back after an exception or a response of 400 and "
            "above. Use flush() to send pending changes, begin_nested() for a savepoint, and "
            "Database.write() for a separate transaction"
        )

    async def commit(self) -> None:
        """Refused."""
        self._refuse("commit()")

    async def rollback(self) -> None:
        """Refused."""
        self._refuse("rollback()")

    async def close(self) -> None:
        """Refused."""
        self._refuse("close()")

    async def aclose(self) -> None:
        """Refused."""
        self._refuse("aclose()")

    async def reset(self) -> None:
        """Refused."""
        self._refuse("reset()")

    async def invalidate(self) -> None:
        """Refused."""
        self._refuse("invalidate()")

    def begin(self) -> NoReturn:
        """Refused."""
        self._refuse("begin()")

    async def __aenter__(self) -> Self:
        self._refuse("async with")

    async def connection(
        self,
        bind_arguments: dict[str, Any] | None = None,
        execution_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncConnection:
        """The connection of the transaction.

        Raises:
            TransactionControlError: The transaction has begun already, so options have no effect.
        """
        if execution_options and self.in_transaction():
            raise TransactionControlError(
                "transaction options, such as the isolation level, must be set before the first "
                "statement; use @transaction(isolation=...) on the endpoint"
            )
        return await super().connection(bind_arguments, execution_options, **options)
