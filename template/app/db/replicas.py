"""Read replicas: which one to read from, and when to leave it.

A task looks at the primary and at every replica twice a second. A replica that does not answer, is
too far behind or was promoted is not read until it is well again; whoever waits for one that does
not answer is cut off, and runs again on the primary.
"""

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.database import Database, UnitOfWork
from app.db.engine import create_engine
from app.db.errors import OutcomeUnknownError, kind_of
from app.db.kinds import Kind
from app.db.replication import abort, get_position
from app.settings import Settings

T = TypeVar("T")

INTERVAL = 0.5
# To connect, or to answer a look.
TIMEOUT = 0.75
# To wait for a free connection. With TIMEOUT it is what a dead replica can cost a request.
POOL_TIMEOUT = 0.5
# How long after it happened a look may be the last one that did not see it.
LOOK_AGE = INTERVAL + TIMEOUT

logger = logging.getLogger(__name__)


def pin_seconds(settings: Settings) -> float:
    """How long after a write a replica that is read may still lack it: the lag that is tolerated,
    and the age of two looks, at the primary and at the replica."""
    return settings.database_replica_max_lag + 2 * LOOK_AGE


class Primary:
    """Where the primary was in the last seconds, by which the lag of replicas is measured.

    A replica cannot know it: cut off from the primary, it believes to be up to date.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = create_engine(_for_looks(settings, settings.database_url), "read")
        self._connections = _connections_of(self._engine)
        self._max_lag = settings.database_replica_max_lag
        self._positions: deque[tuple[float, int]] = deque()

    async def look(self) -> None:
        """Note its position."""
        now = time.monotonic()
        deadline = asyncio.get_running_loop().call_later(TIMEOUT, _cut_off, self._connections)
        try:
            async with self._engine.connect() as connection:
                self._positions.append((now, (await get_position(connection)).number))
        except Exception as error:
            if kind_of(error) is None:
                logger.exception("the position of the primary is unknown")
        finally:
            deadline.cancel()

    @property
    def demand(self) -> int:
        """The position that a replica must have reached to be read."""
        oldest = time.monotonic() - self._max_lag
        while len(self._positions) > 1 and self._positions[1][0] <= oldest:
            self._positions.popleft()
        return self._positions[0][1] if self._positions else 0

    async def close(self) -> None:
        """Close all connections."""
        _cut_off(self._connections)
        await self._engine.dispose()


class Replica:
    """A replica, not read before it was found well."""

    # What a request meets on a replica and would not meet on the primary. SERIALIZATION: the
    # replica cancelled a query that stood in the way of replication; SCHEMA: a migration has not
    # arrived.
    FAILURES: ClassVar = {
        Kind.DISCONNECTED,
        Kind.SATURATED,
        Kind.SCHEMA,
        Kind.SERIALIZATION,
        Kind.UNAVAILABLE,
    }

    def __init__(self, settings: Settings, url: URL, name: str) -> None:
        self.name = name
        self.engine = create_engine(_for_reads(settings, url), "read")
        self.state = "unknown"
        """`ok`, or why it is not read."""
        # Looks must not queue behind requests.
        self._look_engine = create_engine(_for_looks(settings, url), "read")
        self._connections = _connections_of(self.engine)
        self._look_connections = _connections_of(self._look_engine)

    async def look(self, primary: Primary) -> None:
        """Find out how it is."""
        if self.state != "ok":
            # An old connection says nothing about whether a new one can be had.
            _cut_off(self._look_connections)
        # Not a cancellation, after which the driver would wait for the server again.
        deadline = asyncio.get_running_loop().call_later(TIMEOUT, _cut_off, self._look_connections)
        try:
            async with self._look_engine.connect() as connection:
                position = await get_position(connection)
        except Exception as error:
            if (kind := kind_of(error)) is None:
                logger.exception("%s failed", self.name)
            self._set_state(kind.name.lower() if kind else "failing")
            _cut_off(self._connections)
        else:
            if not position.replicates:
                self._set_state("promoted")
            else:
                self._set_state("ok" if position.number >= primary.demand else "lagging")
        finally:
            deadline.cancel()

    def note_failure(self, kind: Kind) -> None:
        """Take what a request met into account, before the next look."""
        if kind in (Kind.DISCONNECTED, Kind.UNAVAILABLE):
            self._set_state(kind.name.lower())

    def _set_state(self, state: str) -> None:
        if state != self.state:
            level = logging.INFO if state == "ok" else logging.WARNING
            logger.log(level, "%s is %s, was %s", self.name, state, self.state)
            self.state = state

    async def close(self) -> None:
        """Close all connections."""
        _cut_off(self._connections)
        _cut_off(self._look_connections)
        await self.engine.dispose()
        await self._look_engine.dispose()


class Replicas:
    """The replicas of the settings, read in turn."""

    def __init__(self, settings: Settings) -> None:
        self._primary = Primary(settings)
        self._replicas = [
            Replica(settings, url, f"replica {number}")
            for number, url in enumerate(settings.database_replica_url, 1)
        ]
        self._turns = itertools.count()

    def pick(self) -> Replica | None:
        """A replica that is well; None: read from the primary."""
        well = [replica for replica in self._replicas if replica.state == "ok"]
        return well[next(self._turns) % len(well)] if well else None

    @property
    def state(self) -> str:
        """`ok`, `none` without replicas, or what is wrong with which."""
        if not self._replicas:
            return "none"
        wrong = [f"{each.name} {each.state}" for each in self._replicas if each.state != "ok"]
        return ", ".join(wrong) or "ok"

    async def watch(self) -> None:
        """Look at all of them until cancelled."""
        if self._replicas:
            await self._primary.look()
            await asyncio.gather(self._watch_primary(), *map(self._watch, self._replicas))

    async def _watch_primary(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self._primary.look()

    async def _watch(self, replica: Replica) -> None:
        # Each by itself: one that hangs must not delay the look at another.
        while True:
            await replica.look(self._primary)
            await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Close all connections."""
        await self._primary.close()
        for replica in self._replicas:
            await replica.close()


class ReplicaUnit(UnitOfWork):
    """A unit of work that reads from a replica, as long as it does not write."""

    @property
    def only_reads(self) -> bool:
        """Whether no session for writing was asked for."""
        return self._write is None


class ReplicatedDatabase(Database):
    """A database that is read from replicas, while any is well.

    `run` reads there; `read` does not, because nothing repeats its work when a replica fails.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.replicas = Replicas(settings)
        self._rolls_back = False

    async def run(
        self, work: Callable[[UnitOfWork], Awaitable[T]], *, from_primary: bool = False
    ) -> T:
        """Run work as `Database.run` does, but first on a replica, unless it needs what was written
        just now and so reads `from_primary`."""
        replica = None if from_primary or self._rolls_back else self.replicas.pick()
        if replica is not None:
            unit = ReplicaUnit(
                self._new_write_session, partial(self._new_read_session, bind=replica.engine)
            )
            try:
                return await self._attempt(work, unit)
            except OutcomeUnknownError:
                raise
            except Exception as error:
                kind = kind_of(error)
                if kind in Replica.FAILURES and unit.only_reads:
                    replica.note_failure(kind)
                elif kind is None or not kind.repeatable:
                    raise
        return await super().run(work)

    @asynccontextmanager
    async def force_rollback(self) -> AsyncIterator[None]:
        """Roll back whatever is written inside the block, which reads from the primary."""
        self._rolls_back = True
        try:
            async with super().force_rollback():
                yield
        finally:
            self._rolls_back = False

    async def close(self) -> None:
        """Close all connections."""
        await super().close()
        await self.replicas.close()


def _for_reads(settings: Settings, url: URL) -> Settings:
    return settings.model_copy(
        update={
            "database_url": url,
            "database_connect_timeout": TIMEOUT,
            "database_pool_timeout": POOL_TIMEOUT,
            # Half of the connections are for reading: twice as many are all.
            "database_pool_size": 2 * settings.database_pool_size,
        }
    )


def _for_looks(settings: Settings, url: URL) -> Settings:
    return settings.model_copy(
        update={
            "database_url": url,
            "database_connect_timeout": TIMEOUT,
            "database_pool_size": 2,
            "database_max_overflow": 0,
        }
    )


def _connections_of(engine: AsyncEngine) -> WeakSet[Any]:
    """The driver's connections of an engine, as long as there are any."""
    connections: WeakSet[Any] = WeakSet()

    @event.listens_for(engine.sync_engine, "connect")
    def note(connection: Any, record: object) -> None:
        connections.add(connection.driver_connection)

    return connections


def _cut_off(connections: WeakSet[Any]) -> None:
    """Have whoever waits for a server get an error at once."""
    for connection in list(connections):
        abort(connection)
