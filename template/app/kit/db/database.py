"""The `Database`: sessions for reading and writing, and transactions with retries."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from app.kit.db.admission import AdmissionQueue
from app.kit.db.engine import create_engine
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import (
    AmbiguousCommitError,
    DatabaseUnavailableError,
    classify,
    exception_chain,
)
from app.kit.db.health_probe import ConnectionRegistry, close
from app.kit.db.monitor import PrimaryMonitor
from app.kit.db.pool import Isolation, admission_queue
from app.kit.db.sessions import (
    AsyncReadSession,
    ReadOnlySession,
    ReadOnlySessionError,
    TransactionControlError,
    WriteSession,
)
from app.kit.db.unit_of_work import (
    SessionFactory,
    UnitOfWork,
    WritesAfterReadingError,
    WritingSession,
    note_failures,
)
from app.kit.settings import KitSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHARED = (
    "all sessions share one connection, because everything is rolled back in the end "
    "(DATABASE_FORCE_ROLLBACK, or the fixture `client`). In a test, use `live_client`"
)

JOIN_BY_DEFAULT: Any = {"join_transaction_mode": "conditional_savepoint"}
JOIN_BY_SAVEPOINT: Any = {"join_transaction_mode": "create_savepoint"}


class Database:
    """The engines of one process and the sessions on them.

    It connects at the first use, so it can be created while the database is unavailable, and
    outside a running event loop.
    """

    def __init__(self, settings: KitSettings) -> None:
        self.settings = settings
        self.writer = create_engine(settings, "write")
        self.reader = create_engine(settings, "read")
        note_failures(self.writer)
        # expire_on_commit: loaded entities stay readable after COMMIT, for the response.
        # close_resets_only: a session that is used after its end raises, instead of leaking a
        # connection.
        self._new_write_session = async_sessionmaker(
            self.writer,
            class_=WriteSession,
            sync_session_class=WritingSession,
            expire_on_commit=False,
            close_resets_only=False,
        )
        self._new_read_session = async_sessionmaker(
            self.reader, sync_session_class=ReadOnlySession, expire_on_commit=False
        )
        self._writers = SessionFactory(self._new_write_session, admission_queue(settings, "write"))
        self._readers = SessionFactory(self._new_read_session, admission_queue(settings, "read"))
        self._shared: _SharedConnection | None = None
        self._writes_refused = False
        self._registry = ConnectionRegistry(self.writer, self.reader)
        self.monitor = PrimaryMonitor(settings, self._is_busy, self._shed_and_abort)
        self.retries: Counter[ErrorKind] = Counter()
        """The number of retried transactions by kind of error."""
        self.ambiguous_commits = 0
        """How often the connection was lost during COMMIT."""

    @asynccontextmanager
    async def read(self, *, isolation: Isolation | None = None) -> AsyncIterator[AsyncReadSession]:
        """A session for reading, for jobs, streams and scripts.

        Each statement takes a connection and returns it. With an `isolation`, all statements of the
        block run in one transaction on one connection.
        """
        async with self._work(self._unit(writes=False, isolation=isolation)) as unit:
            yield await unit.read()

    @asynccontextmanager
    async def write(self, *, isolation: Isolation | None = None) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is committed at the end of the block, or rolled back if the
        block raises: for jobs, streams and scripts. It is not retried; `run_transaction` is.

        Raises:
            AmbiguousCommitError: The connection was lost during COMMIT.
        """
        async with self._work(self._unit(writes=True, isolation=isolation)) as unit:
            yield await unit.write()

    async def run_transaction(
        self, work: Callable[[AsyncSession], Awaitable[T]], *, isolation: Isolation | None = None
    ) -> T:
        """Run `work` in one transaction, commit it and return the result.

        `work` is retried after a transient failure: a deadlock, a serialization failure, or a
        connection lost before COMMIT was sent. So it should have no side effects outside the
        database.

        Raises:
            AmbiguousCommitError: The connection was lost during COMMIT.
            DatabaseUnavailableError: The database has been unavailable for a while; nothing was
                attempted.
            Exception: An error of `work` or the database; nothing was written.
        """

        async def run(unit: UnitOfWork) -> T:
            return await work(await unit.write())

        return await self.run_unit(run, writes=True, isolation=isolation)

    async def run_unit(
        self,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        writes: bool = False,
        isolation: Isolation | None = None,
        from_primary: bool = False,
        retries: bool = True,
    ) -> T:
        """Run a unit of work and commit it, with retries as in `run_transaction`.

        Args:
            work: A function that gets its sessions from the unit.
            writes: Whether it will write.
            isolation: The isolation level of its transaction.
            from_primary: Whether it must not read from a replica.
            retries: Whether it may be retried.
        """
        give_up = time.monotonic() + self.settings.database_retry_timeout
        pause = 0.01
        while True:
            unit = self._unit(writes=writes, isolation=isolation)
            try:
                return await self._attempt(work, unit)
            except WritesAfterReadingError:
                writes = True
                continue
            except AmbiguousCommitError:
                raise
            except Exception as error:
                # Without a session there is no transaction that could have failed.
                kind = None if unit.is_new else classify(error)
                retryable = retries and kind is not None and kind.retryable
                if kind is None or not retryable or time.monotonic() + pause > give_up:
                    raise
                logger.info("transaction retried: %s", kind.name, extra={"kind": kind.name})
                self.retries[kind] += 1
            # Jitter, so that conflicting transactions do not collide again.
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, 0.5)

    def _unit(self, *, writes: bool, isolation: Isolation | None) -> UnitOfWork:
        if isolation is not None and self._shared is not None:
            raise TransactionControlError(f"an isolation level cannot be set where {SHARED}")
        return UnitOfWork(
            self._writers, self._readers, writes=writes, isolation=isolation, check=self._check
        )

    def _check(self) -> None:
        """Fail fast if the database has been unavailable for a while."""
        if self.monitor.is_unavailable:
            raise DatabaseUnavailableError

    async def _attempt(self, work: Callable[[UnitOfWork], Awaitable[T]], unit: UnitOfWork) -> T:
        async with self._work(unit):
            return await work(unit)

    @asynccontextmanager
    async def _work(self, unit: UnitOfWork) -> AsyncIterator[UnitOfWork]:
        """Commit a unit of work at the end of the block unless it raises; close it anyway."""
        shared = self._shared
        if shared is not None:
            await shared.acquire()
        try:
            yield unit
            await unit.commit()
            if self._writes_refused and unit.commit_sent:
                await self._reconnect_readers()
        except Exception as error:
            kind = classify(error)
            first = unit.failure
            follows = first is not None and first not in exception_chain(error)
            if (
                first is not None
                and follows
                and kind is None
                and isinstance(error, SQLAlchemyError)
            ):
                # It follows from an error that was caught before: report that one.
                raise first from None
            if unit.commit_sent and kind in (ErrorKind.DISCONNECTED, ErrorKind.TIMEOUT):
                self.ambiguous_commits += 1
                raise AmbiguousCommitError from error
            if kind is ErrorKind.READ_ONLY and unit.writes:
                self._writes_refused = True
            elif kind is ErrorKind.READ_ONLY:
                # A bug in the code, not a state of the database.
                raise ReadOnlySessionError("a ReadSession got SQL that writes") from error
            raise
        finally:
            try:
                await unit.close()
            finally:
                if shared is not None:
                    shared.release()

    @asynccontextmanager
    async def force_rollback(self) -> AsyncIterator[None]:
        """Roll back, at the end of the block, all that is written inside it.

        All sessions share one connection and take turns; their commits release savepoints.
        """
        async with self.writer.connect() as connection:
            transaction = await connection.begin()
            self._new_write_session.configure(bind=connection, **JOIN_BY_SAVEPOINT)
            self._new_read_session.configure(bind=connection, **JOIN_BY_SAVEPOINT)
            self._shared = _SharedConnection(self.settings.database_pool_timeout)
            try:
                yield
            finally:
                self._shared = None
                self._new_write_session.configure(bind=self.writer, **JOIN_BY_DEFAULT)
                self._new_read_session.configure(bind=self.reader, **JOIN_BY_DEFAULT)
                await transaction.rollback()

    async def run_maintenance(self) -> None:
        """Monitor the primary until cancelled. Without it, callers wait for an unavailable database
        until their timeout."""
        await self.monitor.run()

    async def check_readiness(self) -> tuple[bool, dict[str, str]]:
        """Whether the service is ready, and the result of each check: `ok`, or what is wrong."""
        checks = await self.monitor.check()
        return all(result in ("ok", "ahead") for result in checks.values()), checks

    async def close(self) -> None:
        """Close all connections, even if the server does not respond."""
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
        """Replace the readers' connections once writes succeed again after READ_ONLY errors: the
        former primary may still run after a failover and return stale rows."""
        self._writes_refused = False
        await close(self.reader, self._registry)

    def _shed_and_abort(self) -> None:
        for sessions in (self._writers, self._readers):
            sessions.queue.shed()
        self._registry.abort_all()


class _SharedConnection:
    """Mutual exclusion on the connection that all sessions share during `force_rollback`."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._holder: asyncio.Task[object] | None = None

    async def acquire(self) -> None:
        """Take the connection.

        Raises:
            TransactionControlError: Another unit of work, which waits for this one, has it.
        """
        task = asyncio.current_task()
        try:
            if self._holder is task:
                raise TimeoutError
            async with asyncio.timeout(self._timeout):
                await self._lock.acquire()
        except TimeoutError:
            raise TransactionControlError(
                f"a unit of work began inside another one, where {SHARED}"
            ) from None
        self._holder = task

    def release(self) -> None:
        """Return the connection."""
        self._holder = None
        self._lock.release()
