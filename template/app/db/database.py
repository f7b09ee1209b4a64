"""The database as the service sees it: sessions to read and write, and work in transactions."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from app.db.engine import create_engine
from app.db.errors import DatabaseAwayError, OutcomeUnknownError, kind_of
from app.db.kinds import Kind
from app.db.lookout import Connections, close
from app.db.monitor import Monitor
from app.db.places import Places
from app.db.pool import close_surplus, places
from app.db.sessions import AsyncReadSession, ReadOnlySession, ReadOnlySessionError
from app.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Sessions(NamedTuple):
    """The sessions on one engine."""

    new: Callable[[], AsyncSession]
    places: Places
    """As many as the engine has connections."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncSession]:
        """A session, closed at the end of the block."""
        async with self.places.take(), self.new() as session:
            yield session


class UnitOfWork:
    """The sessions of one piece of work, which hold at most one connection together."""

    def __init__(self, writers: Sessions, readers: Sessions) -> None:
        self._writers = writers
        self._readers = readers
        self._place: Places | None = None
        self._write: AsyncSession | None = None
        self._read: AsyncSession | None = None
        self.commit_sent = False
        self.rollback_only = False
        """Set it to have everything rolled back although nothing is raised."""

    async def write(self) -> AsyncSession:
        """The session that may write, the same at every call."""
        if self._write is None:
            if self._read is not None:
                # A work that held one connection while it waits for a second could wait for another
                # one that does the same.
                await self._read.commit()
                self._leave()
            await self._enter(self._writers.places)
            self._write = self._writers.new()
            self._join()
        return self._write

    async def read(self) -> AsyncReadSession:
        """The session that cannot write, the same at every call."""
        if self._read is None:
            if self._write is None:
                await self._enter(self._readers.places)
            self._read = self._readers.new()
            self._join()
        return self._read

    async def _enter(self, places: Places) -> None:
        await places.acquire()
        self._place = places

    def _leave(self) -> None:
        if self._place is not None:
            self._place.release()
            self._place = None

    def _join(self) -> None:
        if self._read is not None and self._write is not None:
            self._read.sync_session.info["writer"] = self._write
            # A savepoint of its own would end with the writer's, and then could not be ended.
            self._read.sync_session.join_transaction_mode = "rollback_only"

    @property
    def only_reads(self) -> bool:
        """Whether no session for writing was asked for."""
        return self._write is None

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
        try:
            if self._read is not None:
                await _close(self._read)
        finally:
            try:
                if self._write is not None:
                    await _close(self._write)
            finally:
                self._leave()


async def _close(session: AsyncSession) -> None:
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
        self._writers = Sessions(self._new_write_session, places(self.writer, settings))
        self._readers = Sessions(self._new_read_session, places(self.reader, settings))
        self._turn: AbstractAsyncContextManager[object] = nullcontext()
        self._refused_writes = False
        self._connections = Connections(self.writer, self.reader)
        self.monitor = Monitor(settings, self._is_busy, self._give_up)
        self.repeats: Counter[Kind] = Counter()
        """How often work was run again, and why."""
        self.unknown_outcomes = 0
        """How often the connection was lost while COMMIT was on its way."""

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncReadSession]:
        """A session for reading, outside a request: scripts and background jobs."""
        async with self._turn, self._readers.open() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is committed at the end of the block, or rolled back if the
        block raises: scripts and background jobs. It is not tried again; `run` is."""
        async with self._turn, self._writers.open() as session:
            yield session
            await session.commit()

    async def run(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run work in one transaction, committed when this returns.

        The work is run again from its beginning when the database undid it for reasons that pass:
        it lost against another transaction, or the connection broke before COMMIT was sent. So it
        should change nothing but the database and what it returns.

        Raises:
            OutcomeUnknownError: The connection broke while COMMIT was on its way.
            DatabaseAwayError: It has been away for a while; nothing was tried.
            Exception: What the work or the database raised; nothing was written.
        """
        give_up = time.monotonic() + self.settings.database_retry_timeout
        pause = 0.01
        while True:
            if self.monitor.gave_up:
                raise DatabaseAwayError
            unit = UnitOfWork(self._writers, self._readers)
            try:
                return await self._attempt(work, unit)
            except OutcomeUnknownError:
                raise
            except Exception as error:
                kind = kind_of(error)
                if kind is None or not kind.repeatable or time.monotonic() + pause > give_up:
                    raise
                logger.info("run again: %s", kind.name, extra={"kind": kind.name})
                self.repeats[kind] += 1
            # Those who collided must not meet again.
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.5)

    async def _attempt(self, work: Callable[[UnitOfWork], Awaitable[T]], unit: UnitOfWork) -> T:
        async with self._turn:
            try:
                result = await work(unit)
                await unit.commit()
                if self._refused_writes and unit.commit_sent:
                    await self._leave_former_primary()
                return result
            except Exception as error:
                kind = kind_of(error)
                if unit.commit_sent and kind in (Kind.DISCONNECTED, Kind.TIMEOUT):
                    self.unknown_outcomes += 1
                    raise OutcomeUnknownError from error
                if kind is Kind.READ_ONLY and not unit.only_reads:
                    self._refused_writes = True
                elif kind is Kind.READ_ONLY:
                    # The database is well; the code is not.
                    raise ReadOnlySessionError("SQL that writes got a ReadSession") from error
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

    async def watch(self) -> None:
        """Look after the database and the connections to it, until cancelled. Without it, who waits
        for a database that is away waits for the full time, and connections stay open."""
        await asyncio.gather(
            self.monitor.watch(),
            close_surplus(self.writer, self._writers.places, self.settings),
            close_surplus(self.reader, self._readers.places, self.settings),
        )

    async def look(self) -> tuple[bool, dict[str, str]]:
        """Whether requests can do their work, and how each part is: `ok`, or what is wrong."""
        checks = await self.monitor.look()
        return all(result == "ok" for result in checks.values()), checks

    async def close(self) -> None:
        """Close all connections, whether the server helps or not."""
        await asyncio.gather(
            self.monitor.close(), *(close(engine, self._connections) for engine in self.engines)
        )
        self._connections.cut_off()

    @property
    def engines(self) -> tuple[AsyncEngine, ...]:
        """The engines that requests use."""
        return (self.writer, self.reader)

    @property
    def pools(self) -> list[tuple[str, AsyncEngine, Places]]:
        """The engines that requests use, by name, each with the queue for its connections."""
        return [
            ("write", self.writer, self._writers.places),
            ("read", self.reader, self._readers.places),
        ]

    def _is_busy(self) -> bool:
        return self._writers.places.taken + self._readers.places.taken > 0

    async def _leave_former_primary(self) -> None:
        """Have readers connect anew, as writers did who were refused and are taken now: after a
        failover the former primary may live on, and what is read there grow old."""
        self._refused_writes = False
        await close(self.reader, self._connections)

    def _give_up(self) -> None:
        for sessions in (self._writers, self._readers):
            sessions.places.refuse_waiting()
        self._connections.cut_off()
