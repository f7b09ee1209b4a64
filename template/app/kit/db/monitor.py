"""Availability of the primary, so that callers do not wait for an unavailable database.

While requests are in flight, a task checks the primary every INTERVAL seconds. When it has been
unavailable for longer than DATABASE_RETRY_TIMEOUT, new work fails fast, waiters are rejected, and
connections are aborted. The first successful check ends that.
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
# Seconds to connect and to respond. Readiness must be reported before the prober's own timeout.
TIMEOUT = 1.5

logger = logging.getLogger(__name__)


class PrimaryMonitor:
    """Checks the primary."""

    def __init__(
        self, settings: KitSettings, is_busy: Callable[[], bool], on_unavailable: Callable[[], None]
    ) -> None:
        """The primary is checked while the service `is_busy` or the database is unavailable;
        `on_unavailable` is called after each check while `is_unavailable`."""
        self._probe = HealthProbe(settings, TIMEOUT)
        self._retry_timeout = settings.database_retry_timeout
        self._is_busy = is_busy
        self._on_unavailable = on_unavailable
        self._down_since: float | None = None
        self._check: asyncio.Task[dict[str, str]] | None = None

    @property
    def is_unavailable(self) -> bool:
        """Whether the database has been unavailable for longer than transactions are retried."""
        since = self._down_since
        return since is not None and time.monotonic() - since > self._retry_timeout

    async def check(self) -> dict[str, str]:
        """The state of the `primary` and its `schema`: `ok`, or what is wrong; a schema `ahead` of
        this code is no error. Concurrent callers share one check."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_once())
        return await asyncio.shield(self._check)

    async def run(self) -> None:
        """Check periodically until cancelled."""
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
                    logger.warning("the database is unavailable")
                    # A check that took longer than TIMEOUT means that this process was stalled.
                    self._down_since = max(started, time.monotonic() - TIMEOUT)
                return checks
        else:
            checks = {"primary": "ok", "schema": state}
        if self._down_since is not None:
            seconds = started - self._down_since
            logger.warning("the database is available again after %.1f s", seconds)
            self._down_since = None
        return checks
