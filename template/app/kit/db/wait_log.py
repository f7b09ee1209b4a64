"""Log lines for waits that may take long."""

import logging
import time

# Seconds until the first line, and between later lines.
FIRST, NEXT = 1, 5

logger = logging.getLogger(__name__)


class WaitLog:
    """Logs what a wait is for and how long it has taken so far."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.monotonic()
        self._next = FIRST

    def log_if_due(self) -> None:
        """Log a line if one is due; call it in each iteration of the wait."""
        seconds = time.monotonic() - self._started
        if seconds >= self._next:
            logger.warning("waiting for %s, %.0f s so far", self._what, seconds)
            self._next += NEXT
