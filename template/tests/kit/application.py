"""The application of the kit's tests: the kit and a table of probes, without the owner's routes,
settings and middleware."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app.kit.application import build_app
from app.kit.db import Base
from app.kit.settings import KitSettings
from tests.kit import probe

# The name of this test process; each has its own databases.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


def values_of_tests(database_url: str, **values: Any) -> dict[str, Any]:
    """The values of settings for a database. The pool is fixed, so that tests do not depend on the
    service's pool settings."""
    pool = {"database_pool_size": 5, "database_max_overflow": 10, "database_pool_timeout": 5}
    if "database_direct_url" in KitSettings.model_fields:
        values.setdefault("database_direct_url", database_url)
    return {"_env_file": None, "database_url": database_url, **pool, **values}


def make_settings(database_url: str, **values: Any) -> KitSettings:
    """Settings for a database: only `values` and defaults."""
    return KitSettings(**values_of_tests(database_url, **values))


def create_app(settings: KitSettings) -> FastAPI:
    """Build the application."""
    return build_app(settings, routers=[probe.router], metadata=Base.metadata)


@asynccontextmanager
async def running_app(settings: KitSettings) -> AsyncIterator[FastAPI]:
    """The application between start-up and shutdown."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app
