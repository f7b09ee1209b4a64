"""What observes the application: its metrics."""

from collections.abc import Coroutine
from typing import Any

from fastapi import FastAPI

from app.kit.metrics import install
from app.kit.metrics.multiprocess import share_metrics as prepare_workers

__all__ = ["install", "prepare_workers", "tasks"]


def tasks(app: FastAPI) -> list[Coroutine[Any, Any, None]]:
    """What runs in the background while the application does."""
    return [app.state.metrics.watch()]
