"""Selection and health of read replicas.

The primary and every replica are checked every INTERVAL seconds. A replica that does not respond,
lags too far behind or was promoted is not read until it is healthy again. Connections to one that
does not respond are aborted, and their work is retried on the primary.
"""

import asyncio
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from app.kit.db.admission import AdmissionQueue
from app.kit.db.database import Database
from app.kit.db.engine import create_engine
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import AmbiguousCommitError, classify
from app.kit.db.health_probe import ConnectionRegistry, HealthProbe, close
from app.kit.db.pool import Isolation, admission_queue
from app.kit.db.sessions import ReadOnlySession
from app.kit.db.unit_of_work import SessionFactory, UnitOfWork, WritesAfterReadingError
from app.kit.replicas.position import Position, get_position
from app.kit.settings import KitSettings

T = TypeVar("T")

INTERVAL = 0.5
# Seconds to connect or to respond to a check.
TIMEOUT = 0.75
# Seconds that a request waits for a free connection, for a ping and for a connect, each. Their sum
# is the delay that an unreachable replica can cause.
REPLICA_TIMEOUT = 0.5
# Maximum age of a check, allowing for one that took TIMEOUT and one that is running. An older one
# means that this process was stalled.
MAX_CHECK_AGE = INTERVAL + 2 * TIMEOUT

logger = logging.getLogger(__name__)


def pin_seconds(settings: KitSettings) -> float:
    """How long after a write a replica that is read may lack it: the maximum lag, plus the maximum
    age of the checks of the primary and of the replica."""
    return settings.database_replica_max_lag + 2 * MAX_CHECK_AGE


class Primary:
    """The recent positions of the primary, by which the lag of replicas is measured.

    A replica itself cannot know its lag: without a connection to the primary, it appears current.
    """

    def __init__(self, settings: KitSettings) -> None:
        self._probe = HealthProbe(settings, TIMEOUT)
        self._max_lag = settings.database_replica_max_lag
        self._checked_at = -math.inf
        self._positions: deque[tuple[float, Position]] = deque()

    async def check(self) -> None:
        """Record the current position."""
        now = time.monotonic()
        try:
            async with self._probe.connect() as connection:
                position = await get_position(connection)
        except Exception as error:
            if classify(error) is None:
                logger.exception("the position of the primary is unknown")
        else:
            if now - self._checked_at > MAX_CHECK_AGE:
                # The positions in the meantime are unknown.
                self._positions.clear()
            self._positions.append((now, position))
        self._checked_at = now

    @property
    def is_checked(self) -> bool:
        """Whether the last check is recent, successful or not."""
        return time.monotonic() - self._checked_at <= MAX_CHECK_AGE

    @property
    def required_position(self) -> Position | None:
        """The position that a replica must have reached to be read; None if unknown."""
        oldest = time.monotonic() - self._max_lag
        while len(self._positions) > 1 and self._positions[1][0] <= oldest:
            self._positions.popleft()
        return self._positions[0][1] if self._positions else None

    async def close(self) -> None:
        """Close the connection."""
        await self._probe.close()


class Replica:
    """A replica; it is not read before its first successful check."""

    # Errors that the primary would not raise. SERIALIZATION: the replica cancelled a query that
    # conflicted with replication; SCHEMA: a migration is not replicated yet.
    FAILURES: ClassVar = {
        ErrorKind.DISCONNECTED,
        ErrorKind.RESOURCE_EXHAUSTED,
        ErrorKind.SCHEMA,
        ErrorKind.SERIALIZATION,
        ErrorKind.UNAVAILABLE,
    }

    def __init__(self, settings: KitSettings, url: URL, name: str) -> None:
        self.name = name
        self.settings = _for_reads(settings, url)
        self.engine = create_engine(self.settings, "read")
        self.new_session = async_sessionmaker(
            self.engine, sync_session_class=ReadOnlySession, expire_on_commit=False
        )
        self.queue = admission_queue(self.settings, "read")
        self.state = "unknown"
        """`ok`, or the reason why it is not read."""
        self._checked_at = -math.inf
        self._registry = ConnectionRegistry(self.engine)
        self._probe = HealthProbe(self.settings, TIMEOUT)

    async def check(self, primary: Primary) -> None:
        """Check the replica and set its state."""
        now = time.monotonic()
        try:
            async with self._probe.connect() as connection:
                position = await get_position(connection)
        except Exception as error:
            if (kind := classify(error)) is None:
                logger.exception("%s failed", self.name)
            self._set_state(kind.name.lower() if kind else "failing")
            self._registry.abort_all()
        else:
            if not position.is_standby:
                self._set_state("promoted")
            elif not primary.is_checked:
                self._set_state("unknown")
            else:
                required_position = primary.required_position
                current = required_position is None or position.has_replayed(required_position)
                self._set_state("ok" if current else "lagging")
        self._checked_at = now

    @property
    def is_healthy(self) -> bool:
        """Whether it may be read: the last check succeeded and is recent."""
        return self.state == "ok" and time.monotonic() - self._checked_at <= MAX_CHECK_AGE

    def note_failure(self, kind: ErrorKind) -> None:
        """Stop reading from it after a request's error, until the next check."""
        if kind in (ErrorKind.DISCONNECTED, ErrorKind.UNAVAILABLE):
            self._set_state(kind.name.lower())

    def _set_state(self, state: str) -> None:
        if state != self.state:
            level = logging.INFO if state == "ok" else logging.WARNING
            logger.log(level, "%s is %s, was %s", self.name, state, self.state)
            self.state = state

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._probe.close(), close(self.engine, self._registry))


class Replicas:
    """All replicas, selected round-robin."""

    def __init__(self, settings: KitSettings) -> None:
        self._primary = Primary(settings)
        self.all = [
            Replica(settings, url, f"replica {number}")
            for number, url in enumerate(settings.database_replica_url, 1)
        ]
        self._turns = itertools.count()

    def pick(self, *, primary_is_unavailable: bool) -> Replica | None:
        """The next healthy replica; None: read from the primary.

        While the primary is unavailable and no replica is healthy, a promoted one is returned: it
        is about to become the primary.
        """
        usable = [replica for replica in self.all if replica.is_healthy]
        if primary_is_unavailable and not usable:
            usable = [replica for replica in self.all if replica.state == "promoted"]
        return usable[next(self._turns) % len(usable)] if usable else None

    @property
    def state(self) -> str:
        """`ok`, `none` without replicas, or the name and state of each that is not `ok`."""
        if not self.all:
            return "none"
        unhealthy = [f"{each.name} {each.state}" for each in self.all if each.state != "ok"]
        return ", ".join(unhealthy) or "ok"

    async def run(self) -> None:
        """Check the primary and all replicas until cancelled."""
        if self.all:
            await self._primary.check()
            await asyncio.gather(self._run_primary(), *map(self._run, self.all))

    async def _run_primary(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._primary.check()

    async def _run(self, replica: Replica) -> None:
        # One task per replica, so that one that hangs does not delay the others.
        while True:
            await replica.check(self._primary)
            await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._primary.close(), *(replica.close() for replica in self.all))


class ReplicatedDatabase(Database):
    """A database that reads from replicas, while any is healthy.

    `run_unit` does; `read` does not, because it cannot retry on the primary.
    """

    def __init__(self, settings: KitSettings) -> None:
        super().__init__(settings)
        self.replicas = Replicas(settings)
        self._rolls_back = False

    async def run_unit(
        self,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        writes: bool = False,
        isolation: Isolation | None = None,
        from_primary: bool = False,
        retries: bool = True,
    ) -> T:
        """As of `Database`, but work that only reads is first attempted on a replica, unless it
        must read `from_primary`."""
        # A standby has no serializable transactions.
        on_primary = writes or from_primary or self._rolls_back or isolation == "SERIALIZABLE"
        unavailable = self.monitor.is_unavailable
        replica = None if on_primary else self.replicas.pick(primary_is_unavailable=unavailable)
        if replica is not None:
            unit = UnitOfWork(
                self._writers,
                SessionFactory(replica.new_session, replica.queue),
                writes=False,
                isolation=isolation,
                check=lambda: None,
            )
            try:
                return await self._attempt(work, unit)
            except WritesAfterReadingError:
                writes = True
            except AmbiguousCommitError:
                raise
            except Exception as error:
                kind = classify(error)
                if kind in Replica.FAILURES and not unit.writes and not unit.is_new:
                    replica.note_failure(kind)
                elif kind is None or not kind.retryable:
                    raise
        return await super().run_unit(
            work, writes=writes, isolation=isolation, retries=retries, from_primary=True
        )

    @asynccontextmanager
    async def force_rollback(self) -> AsyncIterator[None]:
        """Roll back whatever is written inside the block, which reads from the primary."""
        self._rolls_back = True
        try:
            async with super().force_rollback():
                yield
        finally:
            self._rolls_back = False

    @property
    def pools(self) -> list[tuple[str, AsyncEngine, AdmissionQueue]]:
        """As of `Database`, including those of the replicas."""
        replicas = [(each.name, each.engine, each.queue) for each in self.replicas.all]
        return [*super().pools, *replicas]

    async def run_maintenance(self) -> None:
        """Monitor the primary and the replicas until cancelled."""
        await asyncio.gather(super().run_maintenance(), self.replicas.run())

    async def check_readiness(self) -> tuple[bool, dict[str, str]]:
        """As of `Database`; an unhealthy replica is reported, but the service stays ready."""
        ready, checks = await super().check_readiness()
        return ready, checks | {"replica": self.replicas.state}

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(super().close(), self.replicas.close())


def _for_reads(settings: KitSettings, url: URL) -> KitSettings:
    return settings.model_copy(
        update={
            "database_url": url,
            "database_connect_timeout": REPLICA_TIMEOUT,
            "database_pool_timeout": REPLICA_TIMEOUT,
            # Twice as many, because only half of them are for reading.
            "database_pool_size": 2 * settings.database_pool_size,
        }
    )
