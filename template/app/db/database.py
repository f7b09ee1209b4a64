"""The database as the service sees it: sessions to read and write, and work in transactions."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from app.db.engine import create_engine
from app.db.errors import OutcomeUnknownError, kind_of
from app.db.kinds import Kind
from app.db.sessions import AsyncReadSession, ReadOnlySession
from app.settings import Settings

T = TypeVar("T")


class UnitOfWork:
    """The sessions of one piece of work, which hold at most one connection together."""

    def __init__(
        self,
        new_write_session: Callable[[], AsyncSession],
        new_read_session: Callable[[], AsyncSession],
    ) -> None:
        self._new_write_session = new_write_session
        self._new_read_session = new_read_session
        self._write: AsyncSession | None = None
        self._read: AsyncSession | None = None
        self.commit_sent = False
        self.rollback_only = False
        """Set it to have everything rolled back although nothing is raised."""

    async def write(self) -> AsyncSession:
        """The session that may write, the same at every call."""
        if self._write is None:
            self._write = self._new_write_session()
            await self._join()
        return self._write

    async def read(self) -> AsyncReadSession:
        """The session that cannot write, the same at every call."""
        if self._read is None:
            self._read = self._new_read_session()
            await self._join()
        return self._read

    async def _join(self) -> None:
        if self._read is not None and self._write is not None:
            # A work that held one connection while it waits for a second could wait for another
            # one that does the same.
            await self._read.commit()
            self._read.sync_session.info["writer"] = self._write
            # A savepoint of its own would end with the writer's, and then could not be ended.
            self._read.sync_session.join_transaction_mode = "rollback_only"

    @property
    def writes(self) -> bool:
        """Whether there is anything to commit."""
        return self._write is not None and self._write.in_transaction()

    async def commit(self) -> None:
        """Commit what was written."""
        if self._write is not None and self.writes and not self.rollback_only:
            await self._write.run_sync(self._flush_and_commit)

    def _flush_and_commit(self, session: Session) -> None:
        session.flush()
        self.commit_sent = True
        session.commit()

    async def close(self) -> None:
        """Return the connection; what was not committed is rolled back."""
        for session in (self._read, self._write):
            if session is not None:
                try:
                    await session.close()
                except DBAPIError:
                    # The connection is gone, and with it all that was not committed.
                    await session.invalidate()


class Database:
    """The engines of one process and the sessions on them.

    It connects at the first use, so it can be made before there is a database, and outside a
    running event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.writer = create_engine(settings, "write")
        self.reader = create_engine(settings, "read")
        self.probe = create_engine(settings, "probe")
        # expire_on_commit: what was loaded stays readable after COMMIT, when the answer is made.
        # close_resets_only: a session that is used after its end raises, instead of silently
        # opening a connection that nobody returns.
        self._new_write_session = async_sessionmaker(
            self.writer, expire_on_commit=False, close_resets_only=False
        )
        self._new_read_session = async_sessionmaker(
            self.reader,
            expire_on_commit=False,
            close_resets_only=False,
            sync_session_class=ReadOnlySession,
        )
        self._turn: AbstractAsyncContextManager[object] = nullcontext()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncReadSession]:
        """A session for reading, outside a request: scripts and background jobs."""
        async with self._turn, self._new_read_session() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is committed at the end of the block, or rolled back if the
        block raises: scripts and background jobs. It is not tried again; `run` is."""
        async with self._turn, self._new_write_session() as session:
            yield session
            await session.commit()

    async def run(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run work in one transaction, committed when this returns.

        The work is run again from its beginning when the database undid it for reasons that pass:
        it lost against another transaction, or the connection broke before COMMIT was sent. So it
        should change nothing but the database and what it returns.

        Raises:
            OutcomeUnknownError: The connection broke while COMMIT was on its way.
            Exception: What the work or the database raised; nothing was written.
        """
        give_up = time.monotonic() + self.settings.database_retry_timeout
        pause = 0.01
        while True:
            unit = UnitOfWork(self._new_write_session, self._new_read_session)
            try:
                return await self._attempt(work, unit)
            except OutcomeUnknownError:
                raise
            except Exception as error:
                kind = kind_of(error)
                if kind is None or not kind.repeatable or time.monotonic() + pause > give_up:
                    raise
            # Those who collided must not meet again.
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.5)

    async def _attempt(self, work: Callable[[UnitOfWork], Awaitable[T]], unit: UnitOfWork) -> T:
        async with self._turn:
            try:
                result = await work(unit)
                await unit.commit()
                return result
            except Exception as error:
                if unit.commit_sent and kind_of(error) in (Kind.DISCONNECTED, Kind.TIMEOUT):
                    raise OutcomeUnknownError from error
                raise
            finally:
                await unit.close()

    @asynccontextmanager
    async def force_rollback(self) -> AsyncIterator[None]:
        """Roll back, at the end of the block, whatever is written inside it.

        All sessions share one connection and take turns; their commits are savepoints.
        """
        turn, self._turn = self._turn, asyncio.Lock()
        factories = (self._new_write_session, self._new_read_session)
        async with self.writer.connect() as connection:
            transaction = await connection.begin()
            for factory in factories:
                factory.configure(bind=connection, join_transaction_mode="create_savepoint")
            try:
                yield
            finally:
                for factory, engine in zip(factories, (self.writer, self.reader), strict=True):
                    factory.configure(bind=engine, join_transaction_mode="conditional_savepoint")
                self._turn = turn
                await transaction.rollback()

    async def close(self) -> None:
        """Close all connections."""
        for engine in self.engines:
            await engine.dispose()

    @property
    def engines(self) -> tuple[AsyncEngine, ...]:
        """All engines."""
        return (self.writer, self.reader, self.probe)
