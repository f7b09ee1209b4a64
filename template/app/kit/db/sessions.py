"""The two types of session: one that may write, and one that cannot, so that the type checker,
the session itself and the database each keep writes off it.

A function that only reads takes an `AsyncReadSession`, and works with either; one that writes takes
SQLAlchemy's `AsyncSession`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar, TypeVarTuple, overload

from sqlalchemy import Connection, Engine, Executable, Result, ScalarResult, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult, AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction
from sqlalchemy.orm.interfaces import ORMOption
from sqlalchemy.sql.selectable import TypedReturnsRows

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]]


class ReadOnlySessionError(Exception):
    """Something was written through a session for reading; take a `WriteSession` there."""


class AsyncReadSession(Protocol):
    """What of SQLAlchemy's `AsyncSession` reads.

    README.md says what its statements see of what others write meanwhile.
    """

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
        """Rows as they arrive, which some databases give from a snapshot only."""
        ...

    async def connection(self, *, execution_options: Mapping[str, Any] = ...) -> AsyncConnection:
        """The connection, for options of the transaction that is to begin."""
        ...


class ReadOnlySession(Session):
    """The session behind an `AsyncReadSession`."""

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Join the transaction of the writing session beside it, if there is one: a request that
        both reads and writes has one connection, and sees what it wrote."""
        writer: AsyncSession | None = self.info.get("writer")
        if writer is not None:
            return writer.sync_session.connection()
        return super().get_bind(*args, **kwargs)


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
