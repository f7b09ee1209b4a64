"""Processes of the service, as operators start them."""

import asyncio
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from httpx2 import AsyncClient, HTTPError

from tests.kit.waiting import Stopwatch

ROOT = Path(__file__).parents[2]
# Only for tests that hang. On a busy machine, a start has taken a minute.
TIMEOUT = 300


async def start(directory: Path, *arguments: str, **environment: str) -> Process:
    """Start Python in an empty directory, where no `.env` of this project is read."""
    # There is no PgBouncer in tests unless they start one.
    environment.setdefault("DATABASE_PGBOUNCER", "false")
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )


async def end(process: Process) -> None:
    """End a process that may still run, and its workers, which would keep its output open."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.communicate()


async def output_of(process: Process) -> str:
    """Wait for the end of a process; return its output."""
    reading = asyncio.create_task(process.communicate())
    with Stopwatch() as watch:
        while not reading.done():
            assert watch.seconds < TIMEOUT
            await asyncio.wait([reading], timeout=1)
    return (await reading)[0].decode()


async def run(directory: Path, *arguments: str, **environment: str) -> tuple[int | None, str]:
    """Run Python to its end; return the exit code and what it printed."""
    process = await start(directory, *arguments, **environment)
    try:
        output = await output_of(process)
    finally:
        await end(process)
    return process.returncode, output


@asynccontextmanager
async def serving(
    directory: Path, *arguments: str, **environment: str
) -> AsyncIterator[tuple[Process, str]]:
    """Start a server and wait until it listens; yield its process and URL. `{port}` in an argument
    is replaced."""
    port = str(free_port())
    arguments = tuple(argument.format(port=port) for argument in arguments)
    process = await start(directory, *arguments, PORT=port, **environment)
    try:
        await wait_until_listening(process, int(port))
        yield process, f"http://127.0.0.1:{port}"
    finally:
        await end(process)


async def wait_until_listening(process: Process, port: int) -> None:
    """Wait until a server listens."""
    with Stopwatch() as watch:
        async with AsyncClient() as client:
            while process.returncode is None:
                assert watch.seconds < TIMEOUT
                with suppress(HTTPError):
                    await client.get(f"http://127.0.0.1:{port}/health/live")
                    return
                await asyncio.sleep(0.05)
    raise AssertionError((await process.communicate())[0].decode())


def free_port() -> int:
    """A free port below the range of ephemeral ports."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
