"""A TCP proxy between the service and its database, and what can befall a network."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

from faults.ports import free_port

T = TypeVar("T")

CHUNK = 64 * 1024
# Close by RST, as the network of a machine that is gone does.
RESET = struct.pack("ii", 1, 0)
INSERT, COMMIT = b"INSERT", b"COMMIT"


class Connection:
    """One client's connection to the proxy, and the proxy's to the server."""

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.client_reader, self.client = client
        self.server_reader: asyncio.StreamReader | None = None
        self.server: asyncio.StreamWriter | None = None
        # Cleared: what is sent is neither read nor forwarded, and nobody is told.
        self.flows = asyncio.Event()
        self.flows.set()
        self.writes = False
        """Whether it ever inserted anything: others send COMMIT, too, and nothing depends on it."""

    def reset(self) -> None:
        """End it with an error on both sides."""
        for writer in (self.client, self.server):
            if writer is not None:
                with suppress(OSError):
                    option = (socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    writer.get_extra_info("socket").setsockopt(*option)
                writer.transport.abort()


class Proxy:
    """Forwards from a port of its own to a server, until told otherwise. It has its own thread."""

    def __init__(self, target: int) -> None:
        self.target = target
        """The server's port, for new connections."""
        self.delay = 0.0
        """Seconds by which each answer is late."""
        self.commits_cut = 0
        self._cut_commit: Literal["before", "after"] | None = None
        self._connections: set[Connection] = set()
        self._swallows = False
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = free_port()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()

    def listen(self) -> None:
        """Accept connections."""
        self._run(self._listen())

    def refuse(self) -> None:
        """Refuse new connections and reset the others, like a machine without the server."""
        self._run(self._refuse())

    def swallow(self) -> None:
        """Take everything and forward nothing, in both directions, like a network that is split."""
        self._swallows = True
        self.forget()

    def forget(self) -> None:
        """Swallow what the present connections send, and serve new ones: they are half-open."""
        self._run(self._on_each(lambda connection: connection.flows.clear()))

    def heal(self) -> None:
        """Undo `refuse`, `swallow`, `forget` and `delay`."""
        self._swallows = False
        self.delay = 0.0
        self._run(self._on_each(lambda connection: connection.flows.set()))
        if self._server is None:
            self.listen()

    def reset(self) -> None:
        """Reset all connections; new ones are served."""
        self._run(self._on_each(Connection.reset))

    def cut_at_commit(self, when: Literal["before", "after"]) -> None:
        """Reset the next connection that commits what it wrote, before or after the server does."""
        self._cut_commit = when

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def close(self) -> None:
        """End all of it."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=512)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._on_each(Connection.reset)

    async def _on_each(self, function: Callable[[Connection], None]) -> None:
        for connection in list(self._connections):
            function(connection)

    async def _close(self) -> None:
        await self._refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection((reader, writer))
        if self._swallows:
            connection.flows.clear()
        self._connections.add(connection)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await connection.flows.wait()
            server = await asyncio.open_connection("127.0.0.1", self.target)
            connection.server_reader, connection.server = server
            await asyncio.gather(self._forward(connection), self._return(connection))
        except (OSError, EOFError):
            connection.reset()
        except asyncio.CancelledError:
            # The streams would report a task that ends so.
            connection.reset()
        finally:
            self._connections.discard(connection)
            self._tasks.discard(task)

    async def _forward(self, connection: Connection) -> None:
        assert connection.server is not None
        while data := await connection.client_reader.read(CHUNK):
            await connection.flows.wait()
            cut = None
            connection.writes |= INSERT in data
            if connection.writes and COMMIT in data and self._cut_commit is not None:
                cut, self._cut_commit = self._cut_commit, None
                self.commits_cut += 1
            if cut == "before":
                raise EOFError
            if cut == "after":
                # The answer, which is for nobody, says that it is done.
                connection.flows.clear()
                connection.server.write(data)
                assert connection.server_reader is not None
                await asyncio.sleep(0.5)
                raise EOFError
            connection.server.write(data)
            await connection.server.drain()
        connection.server.write_eof()

    async def _return(self, connection: Connection) -> None:
        assert connection.server_reader is not None
        while data := await connection.server_reader.read(CHUNK):
            await connection.flows.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            connection.client.write(data)
            await connection.client.drain()
        if connection.flows.is_set():
            connection.client.close()
            raise EOFError

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@contextmanager
def black_hole() -> Iterator[int]:
    """A port to which connections neither succeed nor fail: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        queued = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            queued.append(client)
        yield listener.getsockname()[1]
        for client in queued:
            client.close()
