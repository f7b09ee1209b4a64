"""Metrics shared by the workers of one server, so that any worker can report all of them.

https://prometheus.github.io/client_python/multiprocess/
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

# The client library reads it at import.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics() -> None:
    """Create the folder for the metrics of workers; it is deleted when this process exits."""
    folder = tempfile.mkdtemp(prefix="metrics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder


def shares_metrics() -> bool:
    """Whether this process is one of several."""
    return VARIABLE in os.environ


def forget_dead_workers() -> None:
    """Delete the gauges of workers that died and were replaced."""
    for file in Path(os.environ[VARIABLE]).glob("gauge_live*_*.db"):
        number = int(file.stem.rpartition("_")[2])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            mark_process_dead(number)  # type: ignore[no-untyped-call]
