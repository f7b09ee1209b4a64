"""What the workers of one server share, so that any of them can report the metrics of all.

https://prometheus.github.io/client_python/multiprocess/
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

# The client library reads it when it is imported.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share_metrics() -> None:
    """Make the folder of metrics for workers to be started; it is deleted with this process."""
    folder = tempfile.mkdtemp(prefix="metrics-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[VARIABLE] = folder


def shares_metrics() -> bool:
    """Whether this process is one of several."""
    return VARIABLE in os.environ


def forget_dead_workers() -> None:
    """Drop the gauges of workers that died; the server started others for them."""
    for file in Path(os.environ[VARIABLE]).glob("gauge_live*_*.db"):
        number = int(file.stem.rpartition("_")[2])
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            mark_process_dead(number)  # type: ignore[no-untyped-call]
