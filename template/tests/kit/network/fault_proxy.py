"""A TCP proxy between the service and its database that simulates network faults."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import make_url


class FaultProxy:
    """Forwards bytes in both directions while `forwarding` is set."""

    def __init__(self, host: str, port: int) -> None:
        self.forwarding = asyncio.Event()
        self.forwarding.set()
        self.connections = 0
        """The number of open connections from the service."""
        self.bytes = 0
        """The number of forwarded bytes."""
        self.disconnect_on: bytes | None = None
        """Data that closes the connection instead of being forwarded."""
        self.tasks: set[asyncio.Task[None]] = set()
        """One for each connection."""
        self._target = (host, port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect a client with the server."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        try:
            await self.forwarding.wait()
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            ways = ((reader, server_writer), (server_reader, writer))
            tasks = [asyncio.create_task(self._pass_on(*way)) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                server_writer.close()
        finally:
            self.connections -= 1
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self.forwarding.wait()
                if self.disconnect_on is not None and self.disconnect_on in data:
                    break
                self.bytes += len(data)
                writer.write(data)


@asynccontextmanager
async def fault_proxy(url: str) -> AsyncIterator[tuple[str, FaultProxy]]:
    """A proxy to the server of a database: the URL through the proxy, and the proxy."""
    target = make_url(url)
    assert target.host is not None
    assert target.port is not None
    relay = FaultProxy(target.host, target.port)
    server = await asyncio.start_server(relay.serve, "127.0.0.1")
    through = target.set(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    try:
        yield through.render_as_string(hide_password=False), relay
    finally:
        relay.forwarding.set()  # Unblocks tasks that wait for it.
        # asyncio does not close connections that it accepts while the server is being closed.
        await asyncio.sleep(0.05)
        server.close()
    async with asyncio.timeout(10):  # A connection that is still open then is leaked.
        await asyncio.gather(*relay.tasks)
        await server.wait_closed()
