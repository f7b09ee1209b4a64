"""Health checks, and connections that are aborted when their server does not respond."""

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
    """The open driver connections of some engines."""

    def __init__(self, *engines: AsyncEngine) -> None:
        self._connections: WeakSet[Any] = WeakSet()
        for engine in engines:
            # Inserted first: SQLAlchemy's own listener sends a statement, which may hang.
            event.listen(engine.sync_engine, "connect", self._note, insert=True)

    def _note(self, connection: Any, record: object) -> None:
        self._connections.add(connection.driver_connection)

    def abort_all(self) -> None:
        """Abort all connections: callers that wait for the server get an error at once."""
        for connection in list(self._connections):
            abort(connection)


async def close(engine: AsyncEngine, registry: ConnectionRegistry) -> None:
    """Close an engine's connections; abort those that do not close within CLOSE_TIMEOUT."""
    limit = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, registry.abort_all)
    try:
        await replace_pool(engine)
    finally:
        limit.cancel()


class HealthProbe:
    """A dedicated connection for the health checks of a server."""

    def __init__(self, settings: KitSettings, timeout: float) -> None:
        """A check may take `timeout` seconds."""
        self._timeout = timeout
        limits = {
            "database_connect_timeout": timeout,
            "database_pool_timeout": timeout,
            # The check itself is a ping, and a reconnect would take the time twice.
            "database_pool_pre_ping": False,
        }
        self._engine = create_engine(settings.model_copy(update=limits), "probe")
        self._registry = ConnectionRegistry(self._engine)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[AsyncConnection]:
        """A connection that is aborted after the timeout."""
        # Not by a cancellation, after which the driver would wait for the server again.
        loop = asyncio.get_running_loop()
        limit = loop.call_later(self._timeout, self._registry.abort_all)
        try:
            async with self._engine.connect() as connection:
                yield connection
        except Exception:
            # The next check must open a new connection.
            self._registry.abort_all()
            raise
        finally:
            limit.cancel()

    async def close(self) -> None:
        """Close the connection."""
        try:
            await close(self._engine, self._registry)
        finally:
            # A connection whose connect was cancelled is in no pool.
            self._registry.abort_all()
