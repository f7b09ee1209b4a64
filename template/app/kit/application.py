"""Builds the application around an owner's routers, jobs and settings."""

import asyncio
import gc
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from sqlalchemy import MetaData

from app.kit import middleware, parts
from app.kit.db.database import Database
from app.kit.db.housekeeping import DELETE_EXPIRED_RECORDS
from app.kit.db.startup import check_settings, prepare_schema
from app.kit.jobs import PeriodicJob, run_periodically
from app.kit.observability.logs import configure_logging
from app.kit.settings import KitSettings, SettingsError
from app.kit.web import health, openapi, problems

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

# Otherwise FastAPI checks for OpenTelemetry at each request.
TELEMETRY_OFF: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Settings = TypeVar("Settings", bound=KitSettings)


def build_app(
    settings: KitSettings,
    *,
    routers: Iterable[APIRouter],
    prefix: str = "",
    metadata: MetaData,
    jobs: Iterable[PeriodicJob] = (),
    lifespan: Lifespan | None = None,
    telemetry: TelemetryConfig = TELEMETRY_OFF,
) -> FastAPI:
    """Build the application; it opens no connection before its lifespan starts.

    Args:
        settings: The settings of the service.
        routers: The routers of the features; those of busy routes first, because they match first.
        prefix: The prefix of all their paths.
        metadata: The metadata of the tables.
        jobs: Periodic jobs, which run while the application does.
        lifespan: An async context manager that is entered before the first request and left after
            the last one. It can use the database.
        telemetry: FastAPI's OpenTelemetry options; `{}` enables all of them.

    Raises:
        SettingsError: The settings are not valid on this machine or in this combination.
    """
    check_settings(settings)
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    # Serves the scripts of /docs itself, so that /docs works without internet access.
    app_class = FastAPIOffline if settings.serves_docs else FastAPI
    app = app_class(
        title=settings.title,
        description=project["description"],
        version=project["version"],
        lifespan=partial(_lifespan, metadata=metadata, jobs=tuple(jobs), inner=lifespan),
        docs_url="/docs" if settings.serves_docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.serves_docs else None,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        responses=problems.RESPONSES,
        max_body_size=settings.max_body_bytes,
        telemetry=telemetry,
    )
    app.state.settings = settings
    app.state.database = parts.Database(settings)
    # First: routes match in order, and a health check should cost the same with any number.
    app.include_router(health.router)
    for router in routers:
        app.include_router(router, prefix=prefix)
    problems.install(app)
    openapi.install(app)
    middleware.install(app, settings)
    parts.install(app)
    return app


def load_app(create_app: Callable[[Settings], FastAPI], settings: type[Settings]) -> FastAPI:
    """Build the application from the environment. Exit with one line for each invalid setting or
    ambiguous endpoint name."""
    try:
        app = create_app(settings.load())
        openapi.check_names(app)
    except (SettingsError, openapi.DuplicateNameError) as error:
        sys.exit(str(error))
    return app


@asynccontextmanager
async def _lifespan(
    app: FastAPI, *, metadata: MetaData, jobs: tuple[PeriodicJob, ...], inner: Lifespan | None
) -> AsyncIterator[None]:
    """Open and close connections, run jobs, and enter the owner's lifespan.

    It does not wait for an unavailable database: the service starts, its readiness is 503, and it
    becomes ready when the database is available.
    """
    configure_logging(app.state.settings)
    database: Database = app.state.database
    settings: KitSettings = app.state.settings
    parts.log_connections(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        preparation = prepare_schema(settings, metadata)
        [preparing] = await stack.enter_async_context(_background_tasks(preparation))
        await asyncio.wait([preparing], timeout=settings.database_connect_timeout)
        if preparing.done():
            preparing.result()
        if settings.database_force_rollback:
            await stack.enter_async_context(database.force_rollback())
        work = [
            database.run_maintenance(),
            *parts.tasks(app),
            *(run_periodically(job, database) for job in (DELETE_EXPIRED_RECORDS, *jobs)),
        ]
        await stack.enter_async_context(_background_tasks(*work))
        stack.enter_context(app.state.shutdown.drain_on_sigterm())
        if inner is not None:
            await stack.enter_async_context(inner(app))
        _tune_gc()
        stack.callback(gc.unfreeze)
        yield


@asynccontextmanager
async def _background_tasks(
    *work: Coroutine[Any, Any, None],
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run tasks, and cancel them at the end of the block."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield tasks
    finally:
        # Several times, because drivers have been seen to lose a cancellation.
        for _ in range(3):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)


def _tune_gc() -> None:
    # Objects that exist now live until the end, and those of a request are mostly freed by
    # reference counting. With the defaults, the collector takes 10 to 20 % of the CPU time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _operation_id(route: APIRoute) -> str:
    # The endpoint's name, a short verb phrase, becomes the method's name in generated clients.
    return route.name
