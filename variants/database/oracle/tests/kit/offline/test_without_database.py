"""The service while its database is unavailable, and what needs no database."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient, Response

from app.kit.settings import KitSettings
from tests.kit.application import create_app, make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import unreachable_url
from tests.kit.processes import free_port, start, wait_until_listening
from tests.kit.server import database_server
from tests.kit.waiting import Stopwatch

JSON = {"Content-Type": "application/json"}


def problem_of(response: Response, status: int) -> dict[str, Any]:
    """Check what all error responses have in common; return the body."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert "secret" not in response.text
    assert "ORA-" not in response.text
    assert "DPY-" not in response.text
    assert (response.headers.get("Retry-After") == "1") is (status == 503)
    return body


def unreachable(url: str, **values: float) -> KitSettings:
    """Settings with short timeouts."""
    values = {"database_connect_timeout": 0.2, "database_retry_timeout": 0, **values}
    return make_settings(url, **values)


@pytest.fixture
def settings(tmp_path: Path) -> KitSettings:
    """Settings for a database that refuses connections."""
    return unreachable(unreachable_url(tmp_path))


@pytest.fixture
async def lonely_app(settings: KitSettings) -> AsyncIterator[FastAPI]:
    """The application, started without its database."""
    async with running_app(settings) as app:
        yield app


@pytest.fixture
async def lonely_client(lonely_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with client_of(lonely_app) as client:
        yield client


async def test_service_starts_lives_and_is_unready(lonely_client: AsyncClient) -> None:
    assert (await lonely_client.get("/health/live")).status_code == 200

    with Stopwatch() as watch:
        response = await lonely_client.get("/health/ready")

    assert watch.seconds < 2
    assert response.status_code == 503
    assert response.json() == {
        "status": "unready",
        "checks": {"primary": "disconnected", "schema": "unknown"},
    }


async def test_requests_for_the_database_are_503(lonely_client: AsyncClient) -> None:
    body = {"name": "x"}

    problem_of(await lonely_client.get("/probes"), 503)
    problem_of(await lonely_client.get("/probes/1"), 503)
    problem_of(await lonely_client.post("/probes", json=body), 503)
    key = {"Idempotency-Key": "1"}
    problem_of(await lonely_client.post("/probes", json=body, headers=key), 503)


async def test_host_without_an_address_is_503() -> None:
    # A second, for the DNS lookup.
    settings = unreachable(
        "oracle://user:secret@name.invalid?service_name=x", database_connect_timeout=1
    )
    async with running_app(settings) as app, client_of(app) as client:
        problem_of(await client.get("/probes"), 503)
        assert (await client.get("/health/ready")).status_code == 503


async def test_server_that_disconnects_is_503() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"oracle://user:secret@127.0.0.1:{port}?service_name=x"
        settings = unreachable(url)
        async with running_app(settings) as app, client_of(app) as client:
            problem_of(await client.get("/probes"), 503)


async def test_unresponsive_server_delays_no_request() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        url = f"oracle://user:secret@127.0.0.1:{port}?service_name=x"
        settings = unreachable(url)
        async with running_app(settings) as app, client_of(app) as client:
            with Stopwatch() as watch:
                ready = await client.get("/health/ready")
                listed = await client.get("/probes")

    assert watch.seconds < 4
    assert ready.status_code == 503
    assert ready.json()["checks"]["primary"] in ("disconnected", "timeout", "unreachable")
    assert listed.status_code in (503, 504)


@pytest.mark.parametrize(
    "url",
    [
        "oracle://127.0.0.1:1?service_name=x",
        "oracle://user@127.0.0.1:1?service_name=x",
        "oracle://user:secret@alias",
        "oracle+oracledb_async://",
    ],
    ids=["no user", "no password", "a name of tnsnames.ora", "nothing"],
)
async def test_url_of_no_server_is_503(url: str) -> None:
    async with running_app(unreachable(url)) as app, client_of(app) as client:
        problem_of(await client.get("/probes"), 503)
        assert (await client.get("/health/ready")).json()["checks"]["primary"] == "unavailable"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"name": 7}', b'{"name": NaN}'])
async def test_invalid_request_is_422_before_the_database_is_used(
    lonely_client: AsyncClient, body: bytes
) -> None:
    problem_of(await lonely_client.post("/probes", content=body, headers=JSON), 422)


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"after": "x"}])
async def test_invalid_page_is_422_before_the_database_is_used(
    lonely_client: AsyncClient, query: dict[str, str]
) -> None:
    problem_of(await lonely_client.get("/probes", params=query), 422)


async def test_unknown_path_and_wrong_method_are_problems(lonely_client: AsyncClient) -> None:
    problem_of(await lonely_client.get("/nothing"), 404)
    assert (await lonely_client.delete("/health/live")).headers["Allow"] == "GET, HEAD"
    problem_of(await lonely_client.delete("/health/live"), 405)


async def test_body_over_the_limit_is_413(settings: KitSettings) -> None:
    settings = settings.model_copy(update={"max_body_bytes": 1000})
    async with client_of(create_app(settings)) as client:
        problem_of(await client.post("/api/v1/x", content=b"x" * 1001), 413)


async def test_documentation_needs_no_database(lonely_client: AsyncClient) -> None:
    document = (await lonely_client.get("/openapi.json")).json()

    assert document["openapi"].startswith("3.1")
    assert "get_readiness" in json.dumps(document)
    assert (await lonely_client.get("/docs")).status_code == 200


async def test_process_runs_and_stops_at_sigterm(tmp_path: Path) -> None:
    port = free_port()
    url = unreachable_url(tmp_path)
    process = await start(tmp_path, "-m", "tests.kit", PORT=str(port), DATABASE_URL=url)
    try:
        await wait_until_listening(process, port)
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/health/ready")).status_code == 503
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert "Traceback" not in output.decode()
    assert "secret" not in output.decode()


def test_run_without_a_server_exits_with_one_line() -> None:
    with (
        pytest.raises(pytest.fail.Exception, match=r"needs an Oracle server.* docs/database\.md\."),
        database_server(),
    ):
        pass
