"""One run of the service for each way of starting it, from the first request to the exit."""

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from httpx2 import AsyncClient, Response

from tests.kit.processes import TIMEOUT, output_of, serving
from tests.kit.waiting import Stopwatch

SECRET = "s3cr3t"
COMMANDS = {
    "python -m app": ("-m", "tests.kit"),
    "python -m app, two workers": ("-m", "tests.kit"),
    "uvicorn": ("-m", "uvicorn", "tests.kit.served:app", "--port", "{port}"),
    "fastapi run": ("-m", "fastapi", "run", "-e", "tests.kit.served:app", "--port", "{port}"),
}
# The drain delay in seconds, where there is one.
DELAY = 0.5


@dataclass
class ServerRun:
    """What happened in a run."""

    ready: Response
    """The readiness before SIGTERM."""
    announced: Response | None
    """The readiness during the drain delay, if there is one."""
    alive: Response | None
    seconds: float
    """From SIGTERM to the exit."""
    returncode: int | None
    output: str


async def run_server(command: str, database_url: str, directory: Path) -> ServerRun:
    """Start a server, send valid requests and an invalid one, and stop it by SIGTERM while a client
    keeps its connection."""
    announced = alive = None
    environment = {
        "DATABASE_URL": database_url,
        "DATABASE_ECHO": "true",
        "ENVIRONMENT": "prod",
        "WORKERS": "2" if "two workers" in command else "1",
        "SHUTDOWN_DELAY": str(DELAY if command == "python -m app" else 0),
    }
    async with (
        serving(directory, *COMMANDS[command], **environment) as (process, url),
        AsyncClient(base_url=url, timeout=TIMEOUT) as client,
    ):
        ready = await client.get("/health/ready")
        await client.get("/probes", headers={"X-Request-ID": "mine"})
        await client.get(f"/nowhere?token={SECRET}")
        port = int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        await reader.read()
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")

        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        if command == "python -m app":
            with Stopwatch() as watch:
                announced = ready
                while announced.status_code == 200:
                    assert watch.seconds < TIMEOUT
                    announced = await client.get("/health/ready")
            alive = await client.get("/health/live")
        output = await output_of(process)
        seconds = time.monotonic() - started
        writer.close()
    return ServerRun(ready, announced, alive, seconds, process.returncode, output)
