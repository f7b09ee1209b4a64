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

from app.kit.db.admission import AdmissionQueue
from app.kit.db.engine import create_engine
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import AmbiguousCommitError, DatabaseUnavailableError, classify
from app.kit.db.health_probe import ConnectionRegistry, close
from app.kit.db.monitor import PrimaryMonitor
from app.kit.db.pool import admission_queue
from app.kit.db.sessions import AsyncReadSession, ReadOnlySession, ReadOnlySessionError
from app.kit.settings import KitSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SessionFactory(NamedTuple):
    """The sessions on one engine."""

    new: Callable[[], AsyncSession]
    queue: AdmissionQueue
    """As many as the engine has connections."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncSession]:
        """A session, closed at the end of the block."""
        async with self.queue.take(), self.new() as session:
            yield session


class UnitOfWork:
    """The sessions of one piece of work, which hold at most one connection together."""

    def __init__(self, writers: SessionFactory, readers: SessionFactory) -> None:
        self._writers = writers
        self._readers = readers
        self._slot: AdmissionQueue | None = None
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
                self._release_slot()
            await self._acquire_slot(self._writers.queue)
            self._write = self._writers.new()
            self._join()
        return self._write

    async def read(self) -> AsyncReadSession:
        """The session that cannot write, the same at every call."""
        if self._read is None:
            if self._write is None:
                await self._acquire_slot(self._readers.queue)
            self._read = self._readers.new()
            self._join()
        return self._read

    async def _acquire_slot(self, queue: AdmissionQueue) -> None:
        await queue.acquire()
        self._slot = queue

    def _release_slot(self) -> None:
        if self._slot is not None:
            self._slot.release()
            self._slot = None

    def _join(self) -> None:
        if self._read is not None and self._write is not None:
            self._read.sync_session.info["writer"] = self._write
            # A savepoint of its own would end with the writer's, and then could not be ended.
            self._read.sync_session.join_transaction_mode = "rollback_only"

    @property
    def is_read_only(self) -> bool:
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
                self._release_slot()


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

    def __init__(self, settings: KitSettings) -> None:
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
        self._writers = SessionFactory(self._new_write_session, admission_queue(settings, "write"))
        self._readers = SessionFactory(self._new_read_session, admission_queue(settings, "read"))
        self._exclusive: AbstractAsyncContextManager[object] = nullcontext()
        self._writes_refused = False
        self._registry = ConnectionRegistry(self.writer, self.reader)
        self.monitor = PrimaryMonitor(settings, self._is_busy, self._shed_and_abort)
        self.retries: Counter[ErrorKind] = Counter()
        """How often a transaction was retried, and why."""
        self.ambiguous_commits = 0
        """How often the connection was lost while COMMIT was on its way."""

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncReadSession]:
        """A session for reading, outside a request: scripts and background jobs."""
        async with self._exclusive, self._readers.open() as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is committed at the end of the block, or rolled back if the
        block raises: scripts and background jobs. It is not tried again; `run_transaction` is."""
        async with self._exclusive, self._writers.open() as session:
            yield session
            await session.commit()

    async def run_transaction(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Run work in one transaction, committed when this returns.

        It is run again from its beginning when the database undid it for reasons that pass:
        it lost against another transaction, or the connection broke before COMMIT was sent. So it
        should change nothing but the database and what it returns.

        Raises:
            AmbiguousCommitError: The connection broke while COMMIT was on its way.
            DatabaseUnavailableError: It has been away for a while; nothing was tried.
            Exception: What the work or the database raised; nothing was written.
        """
        give_up = time.monotonic() + self.settings.database_retry_timeout
        pause = 0.01
        while True:
            if self.monitor.is_unavailable:
                raise DatabaseUnavailableError
            unit = UnitOfWork(self._writers, self._readers)
            try:
                return await self._attempt(work, unit)
            except AmbiguousCommitError:
                raise
            except Exception as error:
                kind = classify(error)
                if kind is None or not kind.retryable or time.monotonic() + pause > give_up:
                    raise
                logger.info("transaction retried: %s", kind.name, extra={"kind": kind.name})
                self.retries[kind] += 1
            # Those who collided must not meet again.
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.5)

    async def _attempt(self, work: Callable[[UnitOfWork], Awaitable[T]], unit: UnitOfWork) -> T:
        async with self._exclusive:
            try:
                result = await work(unit)
                await unit.commit()
                if self._writes_refused and unit.commit_sent:
                    await self._reconnect_readers()
                return result
            except Exception as error:
                kind = classify(error)
                if unit.commit_sent and kind in (ErrorKind.DISCONNECTED, ErrorKind.TIMEOUT):
                    self.ambiguous_commits += 1
                    raise AmbiguousCommitError from error
                if kind is ErrorKind.READ_ONLY and not unit.is_read_only:
                    self._writes_refused = True
                elif kind is ErrorKind.READ_ONLY:
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
        exclusive, self._exclusive = self._exclusive, asyncio.Lock()
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
                self._exclusive = exclusive
                await transaction.rollback()

    async def run_maintenance(self) -> None:
        """Watch the primary until cancelled. Without it, callers wait the full time for an
        unavailable database."""
        await self.monitor.run()

    async def check_readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether requests can do their work, and how each part is: `ok`, or what is wrong."""
        checks = await self.monitor.check()
        return all(result == "ok" for result in checks.values()), checks

    async def close(self) -> None:
        """Close all connections, whether the server helps or not."""
        await asyncio.gather(
            self.monitor.close(), *(close(engine, self._registry) for engine in self.engines)
        )
        self._registry.abort_all()

    @property
    def engines(self) -> tuple[AsyncEngine, ...]:
        """The engines that requests use."""
        return (self.writer, self.reader)

    @property
    def pools(self) -> list[tuple[str, AsyncEngine, AdmissionQueue]]:
        """The engines that requests use, by name, each with the queue for its connections."""
        return [
            ("write", self.writer, self._writers.queue),
            ("read", self.reader, self._readers.queue),
        ]

    def _is_busy(self) -> bool:
        return self._writers.queue.in_use + self._readers.queue.in_use > 0

    async def _reconnect_readers(self) -> None:
        """Have readers connect anew, as writers did who were refused and are in_use now: after a
        failover the former primary may live on, and what is read there grow old."""
        self._writes_refused = False
        await close(self.reader, self._registry)

    def _shed_and_abort(self) -> None:
        for sessions in (self._writers, self._readers):
            sessions.queue.shed()
        self._registry.abort_all()
