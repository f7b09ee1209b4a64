"""What observes the application: nothing."""

from collections.abc import Coroutine
from typing import Any

from fastapi import FastAPI


def prepare_workers() -> None:
    """Prepare state that the workers of one server share, before they start."""


def install(app: FastAPI) -> None:
    """Add routes and observers to an application."""


def tasks(app: FastAPI) -> list[Coroutine[Any, Any, None]]:
    """What runs in the background while the application does."""
    return []
