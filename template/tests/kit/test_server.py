"""Real processes on real sockets: responses, messages and shutdown."""

import signal
import socket

import pytest
from httpx2 import AsyncClient

from app.kit.command import serve
from tests.kit.application import make_settings
from tests.kit.processes import free_port
from tests.kit.server_runs import COMMANDS, DELAY, ServerRun

Runs = dict[str, ServerRun]


@pytest.mark.parametrize("command", COMMANDS)
def test_server_responds(server_runs: Runs, command: str) -> None:
    ready = server_runs[command].ready

    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    if command.startswith("python -m app"):
        assert "server" not in ready.headers


@pytest.mark.parametrize("command", COMMANDS)
def test_server_ends_at_sigterm_although_a_client_keeps_its_connection(
    server_runs: Runs, command: str
) -> None:
    run = server_runs[command]

    # uvicorn alone raises the signal again after its shutdown.
    ended = 0 if command.startswith("python -m app") else -signal.SIGTERM
    assert run.returncode == ended, run.output
    assert "Traceback" not in run.output


def test_shutdown_is_announced_while_requests_are_served(server_runs: Runs) -> None:
    run = server_runs["python -m app"]

    # New requests are served, with Connection: close.
    assert run.announced is not None
    assert run.announced.status_code == 503
    assert run.announced.json()["checks"] == {"service": "shutting down"}
    assert run.announced.headers["Connection"] == "close"
    assert run.alive is not None
    assert run.alive.status_code == 200
    assert run.seconds >= DELAY


def test_port_in_use_is_one_line(migrated_url: str) -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(SystemExit) as end,
    ):
        serve("tests.kit.served:app", make_settings(migrated_url, port=port))

    message = str(end.value.code)
    assert message.startswith(f"Cannot listen on 127.0.0.1, port {port}")
    assert len(message.splitlines()) == 1


async def test_command_of_the_readme_serves_the_application(server_url: str) -> None:
    async with AsyncClient(base_url=server_url) as client:
        assert (await client.get("/health/live")).status_code == 200
