"""Processes of the service, as whoever operates it starts them."""

import asyncio
import os
import random
import signal
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from contextlib import suppress
from pathlib import Path

from httpx2 import AsyncClient, HTTPError

ROOT = Path(__file__).parents[1]


async def start(directory: Path, *arguments: str, **environment: str) -> Process:
    """Start Python in an empty directory, where no `.env` of this project is read."""
    # Where the service expects a proxy, the tests have none unless they say so.
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


async def run(directory: Path, *arguments: str, **environment: str) -> tuple[int | None, str]:
    """Run Python to its end; return the exit code and what it printed."""
    process = await start(directory, *arguments, **environment)
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


async def wait_until_it_answers(process: Process, port: int) -> None:
    """Wait until a server listens."""
    async with asyncio.timeout(60), AsyncClient() as client:
        while process.returncode is None:
            with suppress(HTTPError):
                await client.get(f"http://127.0.0.1:{port}/health/live")
                return
            await asyncio.sleep(0.02)
    raise AssertionError((await process.communicate())[0].decode())


def free_port() -> int:
    """A port that is free, below those that outgoing connections take."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
