"""ConnectionRegistry that are cut off when their server is silent, instead of waiting for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from app.kit.db.engine import abort, create_engine
from app.kit.db.pool import replace_pool
from app.kit.settings import KitSettings

CLOSE_TIMEOUT = 3.0


class ConnectionRegistry:
    """The driver's registry of some engines, as long as there are any."""

    def __init__(self, *engines: AsyncEngine) -> None:
        self._registry: WeakSet[Any] = WeakSet()
        for engine in engines:
            # First: SQLAlchemy's own listener sends a statement, which may be the one that hangs.
            event.listen(engine.sync_engine, "connect", self._note, insert=True)

    def _note(self, connection: Any, record: object) -> None:
        self._registry.add(connection.driver_connection)

    def abort_all(self) -> None:
        """Have whoever waits for the server get an error at once."""
        for connection in list(self._registry):
            abort(connection)


async def close(engine: AsyncEngine, registry: ConnectionRegistry) -> None:
    """Close an engine's registry; those of a silent server are cut off in the end."""
    limit = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, registry.abort_all)
    try:
        await replace_pool(engine)
    finally:
        limit.cancel()


class HealthProbe:
    """A connection of its own to a server, to see how it is."""

    def __init__(self, settings: KitSettings, timeout: float) -> None:
        """It has `timeout` seconds for each connect."""
        self._timeout = timeout
        limits = {
            "database_connect_timeout": timeout,
            "database_pool_timeout": timeout,
            # The connect itself tells as much, and a second connection would take the time again.
            "database_pool_pre_ping": False,
        }
        self._engine = create_engine(settings.model_copy(update=limits), "probe")
        self._registry = ConnectionRegistry(self._engine)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection that is cut off when the time is over."""
        # Not a cancellation, after which the driver would wait for the server again.
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self._timeout, self._registry.abort_all)
        try:
            async with self._engine.connect() as connection:
                yield connection
        except Exception:
            # An old connection says nothing about whether a new one can be had.
            self._registry.abort_all()
            raise
        finally:
            limit.cancel()

    async def close(self) -> None:
        """Close the connection."""
        try:
            await close(self._engine, self._registry)
        finally:
            # One whose opening was cancelled is in no pool.
            self._registry.abort_all()
