"""Whether the database is there, so that nobody waits for one that is not.

While requests are under way a task looks at the primary twice a second. When the primary has been
away for longer than work is tried again, new work fails at once, and who still waits for an answer
of the server is cut off. The service is back as soon as a check succeeds.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from app.kit.db import schema
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.db.health_probe import CLOSE_TIMEOUT, HealthProbe
from app.kit.settings import KitSettings

INTERVAL = 0.5
# To connect, or to answer. Who asks for the readiness takes a later answer for none.
TIMEOUT = 1.5

logger = logging.getLogger(__name__)


class PrimaryMonitor:
    """Looks at the primary."""

    def __init__(
        self, settings: KitSettings, is_busy: Callable[[], bool], on_unavailable: Callable[[], None]
    ) -> None:
        """Only while the service `is_busy`, or the database is away, there is a reason to check;
        `on_unavailable` is called while the database has been away for too long."""
        self._probe = HealthProbe(settings, TIMEOUT)
        self._retry_timeout = settings.database_retry_timeout
        self._is_busy = is_busy
        self._on_unavailable = on_unavailable
        self._down_since: float | None = None
        self._check: asyncio.Task[dict[str, str]] | None = None

    @property
    def is_unavailable(self) -> bool:
        """Whether the database has been away for so long that nobody should wait for it."""
        since = self._down_since
        return since is not None and time.monotonic() - since > self._retry_timeout

    async def check(self) -> dict[str, str]:
        """How the `primary` and its `schema` are: `ok`, or what is wrong; a schema that is `ahead`
        of this code is in order. Who asks at the same time shares one check."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_once())
        return await asyncio.shield(self._check)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if self._down_since is not None or self._is_busy():
                await self.check()
                if self.is_unavailable:
                    self._on_unavailable()
            await asyncio.sleep(INTERVAL)

    async def close(self) -> None:
        """Close the connection."""
        if self._check is not None:
            self._check.cancel()
            # A connection that was being opened is closed when the check has ended.
            await asyncio.wait([self._check], timeout=CLOSE_TIMEOUT)
        await self._probe.close()

    async def _check_once(self) -> dict[str, str]:
        started = time.monotonic()
        checks = {"primary": "unreachable", "schema": "unknown"}
        try:
            async with self._probe.connect() as connection:
                state = await schema.state(connection)
        except Exception as error:
            kind = classify(error)
            if kind is None:
                logger.exception("the state of the database is unknown")
            checks["primary"] = kind.name.lower() if kind else "failing"
            if kind in (ErrorKind.DISCONNECTED, ErrorKind.TIMEOUT):
                if self._down_since is None:
                    logger.warning("the database is away")
                    # When it takes longer than that, it is this process that stood still.
                    self._down_since = max(started, time.monotonic() - TIMEOUT)
                return checks
        else:
            checks = {"primary": "ok", "schema": state}
        if self._down_since is not None:
            logger.warning("the database is back after %.1f s", started - self._down_since)
            self._down_since = None
        return checks
