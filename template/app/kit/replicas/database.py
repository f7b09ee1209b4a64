"""Read replicas: which one to read from, and when to leave it.

A task looks at the primary and at every replica twice a second. A replica that does not answer, is
too far behind or was promoted is not read until it is well again; whoever waits for one that does
not answer is cut off, and runs again on the primary.
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
# To connect, or to answer a check.
TIMEOUT = 0.75
# Of a request: to wait for a free connection, for the answer to a ping, and then to connect. All of
# it is what a dead replica can cost.
REPLICA_TIMEOUT = 0.5
# How old the last check may be: it may have taken its time, and so may the one that is under way.
# An older one says nothing: this process stood still.
MAX_CHECK_AGE = INTERVAL + 2 * TIMEOUT

logger = logging.getLogger(__name__)


def pin_seconds(settings: KitSettings) -> float:
    """How long after a write a replica that is read may still lack it: the lag that is tolerated,
    and the age of two looks, at the primary and at the replica."""
    return settings.database_replica_max_lag + 2 * MAX_CHECK_AGE


class Primary:
    """Where the primary was in the last seconds, by which the lag of replicas is measured.

    A replica cannot know it: cut off from the primary, it believes to be up to date.
    """

    def __init__(self, settings: KitSettings) -> None:
        self._probe = HealthProbe(settings, TIMEOUT)
        self._max_lag = settings.database_replica_max_lag
        self._checked_at = -math.inf
        self._positions: deque[tuple[float, Position]] = deque()

    async def check(self) -> None:
        """Note its position."""
        now = time.monotonic()
        try:
            async with self._probe.connect() as connection:
                position = await get_position(connection)
        except Exception as error:
            if classify(error) is None:
                logger.exception("the position of the primary is unknown")
        else:
            if now - self._checked_at > MAX_CHECK_AGE:
                # Where it was in the meantime nobody knows.
                self._positions.clear()
            self._positions.append((now, position))
        self._checked_at = now

    @property
    def is_checked(self) -> bool:
        """Whether the last check is recent, whatever it saw."""
        return time.monotonic() - self._checked_at <= MAX_CHECK_AGE

    @property
    def required_position(self) -> Position | None:
        """The position that a replica must have reached to be read; None: it was never seen."""
        oldest = time.monotonic() - self._max_lag
        while len(self._positions) > 1 and self._positions[1][0] <= oldest:
            self._positions.popleft()
        return self._positions[0][1] if self._positions else None

    async def close(self) -> None:
        """Close the connection."""
        await self._probe.close()


class Replica:
    """A replica, not read before it was found well."""

    # What a request meets on a replica and would not meet on the primary. SERIALIZATION: the
    # replica cancelled a query that stood in the way of replication; SCHEMA: a migration has not
    # arrived.
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
        """`ok`, or why it is not read."""
        self._checked_at = -math.inf
        self._registry = ConnectionRegistry(self.engine)
        self._probe = HealthProbe(self.settings, TIMEOUT)

    async def check(self, primary: Primary) -> None:
        """Find out how it is."""
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
                well = required_position is None or position.has_replayed(required_position)
                self._set_state("ok" if well else "lagging")
        self._checked_at = now

    @property
    def is_healthy(self) -> bool:
        """Whether it may be read: it was well at the last check, which is recent."""
        return self.state == "ok" and time.monotonic() - self._checked_at <= MAX_CHECK_AGE

    def note_failure(self, kind: ErrorKind) -> None:
        """Take what a request met into account, before the next check."""
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
    """The replicas of the settings, read in turn."""

    def __init__(self, settings: KitSettings) -> None:
        self._primary = Primary(settings)
        self.all = [
            Replica(settings, url, f"replica {number}")
            for number, url in enumerate(settings.database_replica_url, 1)
        ]
        self._turns = itertools.count()

    def pick(self, *, primary_is_unavailable: bool) -> Replica | None:
        """A replica that is well; None: read from the primary.

        While that is away, one that was promoted is about to take its place, and is read, too.
        """
        well = [replica for replica in self.all if replica.is_healthy]
        if primary_is_unavailable and not well:
            well = [replica for replica in self.all if replica.state == "promoted"]
        return well[next(self._turns) % len(well)] if well else None

    @property
    def state(self) -> str:
        """`ok`, `none` without replicas, or what is wrong with which."""
        if not self.all:
            return "none"
        wrong = [f"{each.name} {each.state}" for each in self.all if each.state != "ok"]
        return ", ".join(wrong) or "ok"

    async def run(self) -> None:
        """Look at all of them until cancelled."""
        if self.all:
            await self._primary.check()
            await asyncio.gather(self._run_primary(), *map(self._run, self.all))

    async def _run_primary(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._primary.check()

    async def _run(self, replica: Replica) -> None:
        # Each by itself: one that hangs must not delay the check at another.
        while True:
            await replica.check(self._primary)
            await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._primary.close(), *(replica.close() for replica in self.all))


class ReplicatedDatabase(Database):
    """A database that is read from replicas, while any is well.

    `run_unit` reads there; `read` does not, because nothing retries its work when a replica fails.
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
        """As of `Database`, but what only reads runs on a replica first, unless it must see what was
        written just now and so reads `from_primary`."""
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
        """As of `Database`, those of the replicas included."""
        replicas = [(each.name, each.engine, each.queue) for each in self.replicas.all]
        return [*super().pools, *replicas]

    async def run_maintenance(self) -> None:
        """Watch the primary and the replicas until cancelled."""
        await asyncio.gather(super().run_maintenance(), self.replicas.run())

    async def check_readiness(self) -> tuple[bool, dict[str, str]]:
        """As of `Database`; an unhealthy replica is reported, and the primary stands in."""
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
            # Half of the connections are for reading: twice as many are all.
            "database_pool_size": 2 * settings.database_pool_size,
        }
    )
