"""Periodic jobs, which run in every process of the service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from app.kit.db.database import Database
from app.kit.db.errors import classify

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PeriodicJob:
    """A function to call periodically from start-up on.

    It runs in every process, so concurrent runs must be harmless. A failure is logged, and the job
    runs again after `interval`.
    """

    run: Callable[[Database], Awaitable[None]]
    interval: timedelta
    """From the end of one run to the start of the next."""

    @property
    def name(self) -> str:
        """The name of its function, for the log."""
        return getattr(self.run, "__name__", repr(self.run))


async def run_periodically(job: PeriodicJob, database: Database) -> None:
    """Run a job until cancelled."""
    while True:
        try:
            await job.run(database)
        except Exception as error:
            kind = classify(error)
            logger.warning("job %s failed: %s", job.name, kind, exc_info=kind is None)
        await asyncio.sleep(job.interval.total_seconds())
