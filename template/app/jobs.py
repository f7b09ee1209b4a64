"""What runs beside requests: periodic jobs, and what starts and stops with the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app.kit.jobs import PeriodicJob

JOBS: list[PeriodicJob] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start here, before the `yield`, what the service needs; stop it after that."""
    yield
