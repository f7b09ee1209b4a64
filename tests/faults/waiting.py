"""Waiting for what must come."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> float:
    """Wait until a condition holds, and give the seconds that it took.

    Raises:
        AssertionError: It does not hold in time.
    """
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return time.monotonic() - start
