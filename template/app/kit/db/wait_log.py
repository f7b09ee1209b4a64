"""What tells people that nothing hangs: a line for what is waited for, and for how long."""

import logging
import time

# Seconds until the first line, and between lines.
FIRST, NEXT = 1, 5

logger = logging.getLogger(__name__)


class WaitLog:
    """A wait that may take long. It is told in the log, which commands print to stderr."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.monotonic()
        self._next = FIRST

    def log_if_due(self) -> None:
        """Tell about it, if it is time to; call it as often as you like."""
        seconds = time.monotonic() - self._started
        if seconds >= self._next:
            logger.warning("waiting for %s, %.0f s so far", self._what, seconds)
            self._next += NEXT
