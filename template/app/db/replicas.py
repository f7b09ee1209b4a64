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
from functools import partial
from typing import ClassVar, TypeVar

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db import budget
from app.db.budget import Need, most_connections
from app.db.database import Database, Sessions, UnitOfWork
from app.db.engine import create_engine
from app.db.errors import OutcomeUnknownError, kind_of
from app.db.kinds import Kind
from app.db.lookout import Connections, Lookout, close
from app.db.places import Places
from app.db.pool import close_surplus, places
from app.db.replication import Position, get_position
from app.settings import Settings

T = TypeVar("T")

INTERVAL = 0.5
# To connect, or to answer a look.
TIMEOUT = 0.75
# Of a request: to wait for a free connection, for the answer to a ping, and then to connect. All of
# it is what a dead replica can cost.
PATIENCE = 0.5
# How old the last look may be: it may have taken its time, and so may the one that is under way. An
# older one says nothing: this process stood still.
LOOK_AGE = INTERVAL + 2 * TIMEOUT

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
        self._lookout = Lookout(settings, TIMEOUT)
        self._max_lag = settings.database_replica_max_lag
        self._looked_at = -math.inf
        self._positions: deque[tuple[float, Position]] = deque()

    async def look(self) -> None:
        """Note its position."""
        now = time.monotonic()
        try:
            async with self._lookout.look() as connection:
                position = await get_position(connection)
        except Exception as error:
            if kind_of(error) is None:
                logger.exception("the position of the primary is unknown")
        else:
            if now - self._looked_at > LOOK_AGE:
                # Where it was in the meantime nobody knows.
                self._positions.clear()
            self._positions.append((now, position))
        self._looked_at = now

    @property
    def is_looked_at(self) -> bool:
        """Whether the last look is recent, whatever it saw."""
        return time.monotonic() - self._looked_at <= LOOK_AGE

    @property
    def demand(self) -> Position | None:
        """The position that a replica must have reached to be read; None: it was never seen."""
        oldest = time.monotonic() - self._max_lag
        while len(self._positions) > 1 and self._positions[1][0] <= oldest:
            self._positions.popleft()
        return self._positions[0][1] if self._positions else None

    async def close(self) -> None:
        """Close the connection."""
        await self._lookout.close()


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
        self.settings = _for_reads(settings, url)
        self.engine = create_engine(self.settings, "read")
        self.places = places(self.engine, self.settings)
        self.state = "unknown"
        """`ok`, or why it is not read."""
        self._looked_at = -math.inf
        self._connections = Connections(self.engine)
        self._lookout = Lookout(self.settings, TIMEOUT)

    async def look(self, primary: Primary) -> None:
        """Find out how it is."""
        now = time.monotonic()
        try:
            async with self._lookout.look() as connection:
                position = await get_position(connection)
        except Exception as error:
            if (kind := kind_of(error)) is None:
                logger.exception("%s failed", self.name)
            self._set_state(kind.name.lower() if kind else "failing")
            self._connections.cut_off()
        else:
            if not position.replicates:
                self._set_state("promoted")
            elif not primary.is_looked_at:
                self._set_state("unknown")
            else:
                demand = primary.demand
                well = demand is None or position.includes(demand)
                self._set_state("ok" if well else "lagging")
        self._looked_at = now

    @property
    def is_well(self) -> bool:
        """Whether it may be read: it was well at the last look, which is recent."""
        return self.state == "ok" and time.monotonic() - self._looked_at <= LOOK_AGE

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
        await asyncio.gather(self._lookout.close(), close(self.engine, self._connections))


class Replicas:
    """The replicas of the settings, read in turn."""

    def __init__(self, settings: Settings) -> None:
        self._primary = Primary(settings)
        self.all = [
            Replica(settings, url, f"replica {number}")
            for number, url in enumerate(settings.database_replica_url, 1)
        ]
        self._turns = itertools.count()

    def pick(self, *, primary_is_away: bool) -> Replica | None:
        """A replica that is well; None: read from the primary.

        While that is away, one that was promoted is about to take its place, and is read, too.
        """
        well = [replica for replica in self.all if replica.is_well]
        if primary_is_away and not well:
            well = [replica for replica in self.all if replica.state == "promoted"]
        return well[next(self._turns) % len(well)] if well else None

    @property
    def state(self) -> str:
        """`ok`, `none` without replicas, or what is wrong with which."""
        if not self.all:
            return "none"
        wrong = [f"{each.name} {each.state}" for each in self.all if each.state != "ok"]
        return ", ".join(wrong) or "ok"

    async def watch(self) -> None:
        """Look at all of them until cancelled."""
        if self.all:
            await self._primary.look()
            await asyncio.gather(self._watch_primary(), *map(self._watch, self.all))

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
        await asyncio.gather(self._primary.close(), *(replica.close() for replica in self.all))


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
        replica = None
        if not from_primary and not self._rolls_back:
            replica = self.replicas.pick(primary_is_away=self.monitor.gave_up)
        if replica is not None:
            new = partial(self._new_read_session, bind=replica.engine)
            unit = UnitOfWork(self._writers, Sessions(new, replica.places))
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

    @property
    def pools(self) -> list[tuple[str, AsyncEngine, Places]]:
        """As of `Database`, those of the replicas included."""
        replicas = [(each.name, each.engine, each.places) for each in self.replicas.all]
        return [*super().pools, *replicas]

    async def watch(self) -> None:
        """Look after the primary and the replicas until cancelled."""
        surplus = [
            close_surplus(replica.engine, replica.places, replica.settings)
            for replica in self.replicas.all
        ]
        await asyncio.gather(super().watch(), self.replicas.watch(), *surplus)

    async def look(self) -> tuple[bool, dict[str, str]]:
        """As of `Database`; a replica that is not well is told, and the primary stands in."""
        ready, checks = await super().look()
        return ready, checks | {"replica": self.replicas.state}

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(super().close(), self.replicas.close())


def needs(settings: Settings) -> list[Need]:
    """What one process needs of the primary, and of each replica."""
    if not settings.database_replica_url:
        return budget.needs(settings)
    look = most_connections(settings, "probe")
    (primary,) = budget.needs(settings)
    found = [primary._replace(connections=primary.connections + look)]
    for number, url in enumerate(settings.database_replica_url, 1):
        there = _for_reads(settings, url)
        most = most_connections(there, "read") + look
        found.append(Need(f"replica {number}", there, most))
    return found


def _for_reads(settings: Settings, url: URL) -> Settings:
    return settings.model_copy(
        update={
            "database_url": url,
            "database_connect_timeout": PATIENCE,
            "database_pool_timeout": PATIENCE,
            # Half of the connections are for reading: twice as many are all.
            "database_pool_size": 2 * settings.database_pool_size,
        }
    )
