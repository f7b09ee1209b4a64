"""The real processes on real sockets: they answer, they explain themselves, they end when told."""

import asyncio
import signal
import socket
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import AsyncClient

from tests.kit.processes import end, free_port, run, start, wait_until_it_answers
from tests.kit.server import DatabaseServer

COMMANDS = ("python -m app", "python -m app, two workers", "uvicorn app.main:app")


@pytest.fixture(scope="module")
async def servers(
    server: DatabaseServer, migrated_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, tuple[Process, int]]]:
    """The service started in each way, with its port."""
    directory = tmp_path_factory.mktemp("servers")
    url = server.clone_database(migrated_url, "servers")
    ports = {command: free_port() for command in COMMANDS}
    processes = {}
    for command, port in ports.items():
        arguments = ["-m", "app"]
        if command.startswith("uvicorn"):
            arguments = ["-m", "uvicorn", "app.main:app", "--port", str(port)]
        workers = "2" if "two workers" in command else "1"
        processes[command] = await start(
            directory, *arguments, DATABASE_URL=url, PORT=str(port), WORKERS=workers
        )
    try:
        for command, process in processes.items():
            await wait_until_it_answers(process, ports[command])
        yield {command: (process, ports[command]) for command, process in processes.items()}
    finally:
        for process in processes.values():
            await end(process)
        server.drop_database(url)


@pytest.mark.parametrize("command", COMMANDS)
async def test_server_answers(servers: dict[str, tuple[Process, int]], command: str) -> None:
    _, port = servers[command]
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        ready = await client.get("/health/ready")

    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    if command != "uvicorn app.main:app":
        assert "server" not in ready.headers


async def test_port_in_use_is_explained_in_one_sentence(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        code, output = await run(tmp_path, "-m", "app", PORT=str(port))

    assert code == 1
    assert f"Cannot listen on 127.0.0.1, port {port}" in output
    assert "Traceback" not in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
async def test_server_ends_at_sigterm_although_a_client_keeps_its_connection(
    servers: dict[str, tuple[Process, int]], command: str
) -> None:
    process, port = servers[command]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    process.send_signal(signal.SIGTERM)

    async with asyncio.timeout(15):
        output, _ = await process.communicate()
    writer.close()
    # uvicorn by itself ends by the signal again, after it has closed everything.
    assert process.returncode == (-signal.SIGTERM if command.startswith("uvicorn") else 0)
    assert "Traceback" not in output.decode()


async def test_end_is_announced_while_requests_are_still_served(
    server: DatabaseServer, migrated_url: str, tmp_path: Path
) -> None:
    url = server.clone_database(migrated_url, "announced")
    port = free_port()
    process = await start(
        tmp_path, "-m", "app", DATABASE_URL=url, PORT=str(port), SHUTDOWN_DELAY="1"
    )
    try:
        await wait_until_it_answers(process, port)
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/health/ready")).status_code == 200

            process.send_signal(signal.SIGTERM)
            started = time.monotonic()
            while (await client.get("/health/ready")).status_code == 200:
                pass

            # Who comes now is served, and told to come back to another process.
            ready = await client.get("/health/ready")
            assert ready.json()["checks"] == {"service": "shutting down"}
            assert (await client.get("/health/live")).status_code == 200
            assert ready.headers["Connection"] == "close"
        async with asyncio.timeout(10):
            await process.wait()
        assert time.monotonic() - started >= 1
        assert process.returncode == 0
    finally:
        await end(process)
        server.drop_database(url)
