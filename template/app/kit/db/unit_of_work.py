"""The unit of work: its sessions, its connection and its transaction.

docs/transactions.md describes the states of a unit of work and what happens in each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar

from sqlalchemy import Connection, Executable, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncResult,
    AsyncSession,
)
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.orm.interfaces import ORMOption
from sqlalchemy.util import greenlet_spawn

from app.kit.db.admission import AdmissionQueue
from app.kit.db.engine import transaction_options
from app.kit.db.pool import Isolation
from app.kit.db.sessions import (
    AsyncReadSession,
    Parameters,
    ReadOnlySessionError,
    refuse_writing,
)

T = TypeVar("T")

# Keys of the `info` of a connection and of a session.
SESSION = "session"
FAILURE = "failure"
# As `AsyncSession.execute` does: fetch all rows while the connection is held.
PREBUFFER = {"prebuffer_rows": True}


class SessionFactory(NamedTuple):
    """Creates the sessions of one engine."""

    new: Callable[[], AsyncSession]
    queue: AdmissionQueue
    """As many slots as the engine has connections."""


class WritesAfterReadingError(Exception):
    """A unit of work that has read outside a transaction needs to write: it must restart, so that
    all its reads are part of the transaction."""


class UnitOfWork:
    """One session, which holds at most one connection.

    While it only reads, each statement takes a connection and returns it. When it writes, all of it
    runs in one transaction on one connection to the primary.
    """

    def __init__(
        self,
        writers: SessionFactory,
        readers: SessionFactory,
        *,
        writes: bool,
        isolation: Isolation | None,
        check: Callable[[], None],
    ) -> None:
        """`check` raises while the primary is known to be unavailable."""
        self._check = check
        self._writers = writers
        self._readers = readers
        self._isolation = isolation
        self._reader: ReadHandle | None = None
        self._session: AsyncSession | None = None
        self.writes = writes
        """Whether all of it runs in a transaction that can write."""
        self.wrote = False
        """Whether there was anything to commit."""
        self.commit_sent = False
        self.rollback_only = False
        """Set to True to roll back without an exception."""

    @property
    def is_new(self) -> bool:
        """Whether no session was requested yet."""
        return self._reader is None and self._session is None

    async def read(self) -> AsyncReadSession:
        """The session for reading, the same at every call."""
        if self.writes:
            await self.write()
        if self._reader is None:
            self._check()
            self._reader = ReadHandle(self._readers, self._isolation)
            self._reader.writer = self._session
        return self._reader

    async def write(self) -> AsyncSession:
        """The session for writing, the same at every call.

        Raises:
            WritesAfterReadingError: The session for reading was used.
        """
        if self._session is None:
            if self._reader is not None and self._reader.used:
                raise WritesAfterReadingError
            self._check()
            self.writes = True
            await self._writers.queue.acquire()
            self._session = session = self._writers.new()
            if self._isolation is not None:
                options = transaction_options(self._isolation, "write")
                await session.connection(execution_options=options)
            if self._reader is not None:
                self._reader.writer = session
        return self._session

    @property
    def failure(self) -> BaseException | None:
        """The error because of which the transaction cannot be committed, if there was one."""
        return None if self._session is None else self._session.sync_session.info.get(FAILURE)

    async def commit(self) -> None:
        """Commit the transaction.

        Raises:
            sqlalchemy.exc.DBAPIError: The commit failed; or a statement failed before, outside a
                savepoint, and its error was caught: that error is raised again.
            ReadOnlySessionError: An entity that a session for reading had loaded was changed.
        """
        if self._session is None:
            if self._reader is not None:
                self._reader.refuse_changes()
        elif not self.rollback_only and not self.commit_sent:
            session = self._session.sync_session
            self.wrote = session.in_transaction() or bool(session.new)
            if self.wrote:
                await greenlet_spawn(self._commit, session)

    def _commit(self, session: Session) -> None:
        _raise_failure(session)
        session.flush()
        # Again, for statements of the flush.
        _raise_failure(session)
        self.commit_sent = True
        session.commit()

    async def close(self) -> None:
        """Return the connection; uncommitted changes are rolled back."""
        if self._reader is not None:
            await self._reader.end()
        if self._session is not None:
            try:
                await _close(self._session.sync_session)
            finally:
                self._writers.queue.release()


class ReadHandle:
    """The `AsyncReadSession` of a unit of work."""

    def __init__(self, source: SessionFactory, isolation: Isolation | None) -> None:
        self._source = source
        self._isolation = isolation
        self._session: AsyncSession | None = None
        self._holds_connection = False
        self._ended = False
        self.writer: AsyncSession | None = None
        """The session of the unit of work, if it writes."""

    def __getattr__(self, name: str) -> NoReturn:
        raise ReadOnlySessionError(f"a session for reading has no `{name}`; use WriteSession")

    @property
    def used(self) -> bool:
        """Whether it has read outside the transaction of a writer."""
        return self._session is not None

    async def execute(self, statement: Executable, params: Parameters | None = None) -> Any:
        """As `AsyncSession.execute`."""
        return await self._read("execute", statement, params)

    async def scalar(self, statement: Executable, params: Parameters | None = None) -> Any:
        """As `AsyncSession.scalar`."""
        return await self._read("scalar", statement, params)

    async def scalars(self, statement: Executable, params: Parameters | None = None) -> Any:
        """As `AsyncSession.scalars`."""
        return await self._read("scalars", statement, params)

    async def get(
        self, entity: type[T], ident: Any, *, options: Sequence[ORMOption] | None = None
    ) -> T | None:
        """As `AsyncSession.get`."""
        if self.writer is not None:
            return await self.writer.get(entity, ident, options=options)
        found: T | None = await self._call("get", entity, ident, options=options)
        return found

    async def stream(
        self, statement: Executable, params: Parameters | None = None
    ) -> AsyncResult[Any]:
        """As `AsyncSession.stream`; keeps its connection until the end of the unit of work."""
        if self.writer is not None:
            refuse_writing(statement)
            return await self.writer.stream(statement, params)
        session = await self._hold()
        return await session.stream(statement, params)

    async def connection(
        self, *, execution_options: Mapping[str, Any] | None = None
    ) -> AsyncConnection:
        """As `AsyncSession.connection`; keeps it until the end of the unit of work."""
        session = self.writer or await self._hold()
        return await session.connection(execution_options=execution_options)

    async def _read(self, call: str, statement: Executable, params: Parameters | None) -> Any:
        if self.writer is not None:
            refuse_writing(statement)
            return await getattr(self.writer, call)(statement, params)
        return await self._call(call, statement, params, execution_options=PREBUFFER)

    async def _call(self, call: str, *arguments: Any, **options: Any) -> Any:
        session = self._session or self._begin()
        if self._isolation is not None and not self._holds_connection:
            await self._hold()
        method = getattr(session.sync_session, call)
        if self._holds_connection:
            return await greenlet_spawn(method, *arguments, **options)
        await self._source.queue.acquire()
        try:
            # One greenlet for the statement and its end: a switch costs as much as a statement.
            return await greenlet_spawn(
                _run_and_release, session.sync_session, method, arguments, options
            )
        finally:
            self._source.queue.release()

    def _begin(self) -> AsyncSession:
        if self._ended:
            raise InvalidRequestError(
                "a session was used after the end of its request or block; a stream or a "
                "background task opens its own: `async with database.read() as session:`, with "
                "DatabaseDep"
            )
        self._session = self._source.new()
        return self._session

    async def _hold(self) -> AsyncSession:
        session = self._session or self._begin()
        if not self._holds_connection:
            await self._source.queue.acquire()
            self._holds_connection = True
            if self._isolation is not None:
                options = transaction_options(self._isolation, "read")
                await session.connection(execution_options=options)
        return session

    def refuse_changes(self) -> None:
        """Raise if there are changes, which would be lost."""
        if self._session is not None:
            session = self._session.sync_session
            if session.new or session.dirty or session.deleted:
                raise ReadOnlySessionError(
                    "an entity that a session for reading had loaded was changed; use WriteSession"
                )

    async def end(self) -> None:
        """Return the connection; a later use raises."""
        self._ended = True
        if self._session is None:
            return
        session, self._session = self._session.sync_session, None
        try:
            await _close(session)
        finally:
            if self._holds_connection:
                self._holds_connection = False
                self._source.queue.release()


class WritingSession(Session):
    """The session behind a `WriteSession`."""


@event.listens_for(WritingSession, "after_begin")
def _register(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    connection.info[SESSION] = session


def note_failures(engine: AsyncEngine) -> None:
    """Record in each session of an engine whether a statement of its transaction has failed.

    After a failed statement, PostgreSQL turns COMMIT into a rollback, which no driver reports, and
    other databases commit the rest. Here, a failure outside a savepoint fails the transaction.
    """

    @event.listens_for(engine.sync_engine, "handle_error")
    def note(context: ExceptionContext) -> None:
        if context.connection is None or context.connection.invalidated:
            return
        session = context.connection.info.get(SESSION)
        # A lost connection, or one that is discarded after a deadlock, loses all savepoints.
        if session is not None and (context.is_disconnect or not session.in_nested_transaction()):
            # Set only if another listener has replaced the error.
            error = getattr(context, "chained_exception", None) or context.sqlalchemy_exception
            session.info.setdefault(FAILURE, error or context.original_exception)


def _raise_failure(session: Session) -> None:
    if (failure := session.info.get(FAILURE)) is not None:
        raise failure


def _run_and_release(
    session: Session, method: Any, arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    try:
        result = method(*arguments, **options)
        # Sends nothing, because there is no transaction.
        session.commit()
    except BaseException:
        _close_sync(session)
        raise
    return result


async def _close(session: Session) -> None:
    if session.in_transaction():
        await greenlet_spawn(_close_sync, session)
    else:
        session.close()


def _close_sync(session: Session) -> None:
    try:
        session.close()
    except DBAPIError:
        # The connection is lost, and so is all that was not committed.
        session.invalidate()
