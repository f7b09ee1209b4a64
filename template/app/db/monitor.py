"""Whether the database is there, so that nobody waits for one that is not.

While requests are under way a task looks at the primary twice a second. When the primary has been
away for longer than work is tried again, new work fails at once, and who still waits for an answer
of the server is cut off. The service is back as soon as a look succeeds.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from app.db.errors import kind_of
from app.db.kinds import Kind
from app.db.lookout import Lookout
from app.db.schema import is_current
from app.settings import Settings

INTERVAL = 0.5
# To connect, or to answer. Who asks for the readiness takes a later answer for none.
TIMEOUT = 1.5

logger = logging.getLogger(__name__)


class Monitor:
    """Looks at the primary."""

    def __init__(
        self, settings: Settings, is_busy: Callable[[], bool], give_up: Callable[[], None]
    ) -> None:
        """Only while the service `is_busy`, or the database is away, there is a reason to look;
        `give_up` is called while the database has been away for too long."""
        self._lookout = Lookout(settings, TIMEOUT)
        self._patience = settings.database_retry_timeout
        self._is_busy = is_busy
        self._give_up = give_up
        self._away_since: float | None = None
        self._look: asyncio.Task[dict[str, str]] | None = None

    @property
    def gave_up(self) -> bool:
        """Whether the database has been away for so long that nobody should wait for it."""
        since = self._away_since
        return since is not None and time.monotonic() - since > self._patience

    async def look(self) -> dict[str, str]:
        """How the `primary` and its `schema` are: `ok`, or what is wrong. Who asks at the same time
        shares one look."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._look_once())
        return await asyncio.shield(self._look)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            if self._away_since is not None or self._is_busy():
                await self.look()
                if self.gave_up:
                    self._give_up()
            await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Close the connection."""
        if self._look is not None:
            self._look.cancel()
        await self._lookout.close()

    async def _look_once(self) -> dict[str, str]:
        started = time.monotonic()
        checks = {"primary": "unreachable", "schema": "unknown"}
        try:
            async with self._lookout.look() as connection:
                current = await is_current(connection)
        except Exception as error:
            kind = kind_of(error)
            if kind is None:
                logger.exception("the state of the database is unknown")
            checks["primary"] = kind.name.lower() if kind else "failing"
            if kind in (Kind.DISCONNECTED, Kind.TIMEOUT):
                if self._away_since is None:
                    logger.warning("the database is away")
                    # When it takes longer than that, it is this process that stood still.
                    self._away_since = max(started, time.monotonic() - TIMEOUT)
                return checks
        else:
            checks = {"primary": "ok", "schema": "ok" if current else "behind"}
        if self._away_since is not None:
            logger.warning("the database is back after %.1f s", started - self._away_since)
            self._away_since = None
        return checks
