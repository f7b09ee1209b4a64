"""Security defaults: headers, CORS, hosts."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from httpx2 import ASGITransport, AsyncClient

from app.kit.observability.access_log import request_id
from app.main import create_app
from tests.kit.fixtures import make_settings, running_app

ORIGIN = {"Origin": "https://example.com"}


def client_of(app: FastAPI) -> AsyncClient:
    """A client that gets 500 responses instead of exceptions."""
    transport = ASGITransport(app, raise_app_exceptions=False)
    return AsyncClient(transport=transport, base_url="http://test")


@pytest.mark.parametrize("path", ["/health/live", "/docs", "/openapi.json", "/nowhere"])
async def test_responses_tell_browsers_what_not_to_do(client: AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_pages_of_other_origins_may_read_nothing(client: AsyncClient) -> None:
    response = await client.get("/health/live", headers=ORIGIN)

    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_trace_is_refused(client: AsyncClient) -> None:
    response = await client.request("TRACE", "/health/live")

    assert response.status_code == 405


async def test_pages_of_allowed_origins_may_read_every_response(own_url: str) -> None:
    settings = make_settings(
        own_url,
        cors_origins="https://example.com, https://example.org",
        allowed_hosts="test",
        max_body_bytes=100,
    )
    async with running_app(settings) as app:

        @app.post("/do/{what}")
        async def respond(what: str, request: Request) -> None:
            if what == "crash":
                raise LookupError
            if what == "hang":
                await asyncio.sleep(600)
            if what == "read":
                await request.body()

        async with client_of(app) as client:
            responses = [
                await client.get("/health/live", headers=ORIGIN),
                await client.post("/do/crash", headers=ORIGIN),
                await client.post("/do/read", headers=ORIGIN, content=b"x" * 101),
                await client.post("/do/ignore", headers=ORIGIN, content=b"x" * 101),
                await client.get("/nowhere", headers=ORIGIN),
                await client.get("/nowhere", headers={**ORIGIN, "Host": "other"}),
            ]
            app.state.requests.request_timeout = 0.01
            responses.append(await client.post("/do/hang", headers=ORIGIN))
            app.state.requests.request_timeout = settings.request_timeout
            other = await client.get("/health/live", headers={"Origin": "https://other.org"})
            preflight = await client.options(
                "/do/read",
                headers={
                    **ORIGIN,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "authorization, idempotency-key",
                },
            )

    assert [response.status_code for response in responses] == [200, 500, 413, 413, 404, 400, 504]
    for response in [*responses, preflight]:
        assert response.headers.get_list("Access-Control-Allow-Origin") == [ORIGIN["Origin"]]
        assert "X-Request-ID" in response.headers
    for response in responses:
        exposed = response.headers["Access-Control-Expose-Headers"]
        assert exposed == "X-Request-ID, Location, Retry-After, Idempotency-Replayed"
    for response in responses[1:]:
        assert response.headers["Content-Type"] == "application/problem+json"
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Access-Control-Allow-Headers"] == "authorization, idempotency-key"
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.com", 404),
        ("API.example.com:8000", 404),
        ("a.b.example.org", 404),
        ("example.org", 400),
        ("evil.com", 400),
        ("api.example.com.evil.com", 400),
        ("evil.com:80.example.org", 400),
        ("", 400),
    ],
)
async def test_requests_for_other_hosts_are_refused(
    migrated_url: str, host: str, status: int
) -> None:
    settings = make_settings(migrated_url, allowed_hosts="api.example.com,*.example.org")
    async with client_of(create_app(settings)) as client:
        response = await client.get("/nowhere", headers={"Host": host})
        probe = await client.get("/health/live", headers={"Host": host or "10.0.0.1:8000"})

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "X-Request-ID" in response.headers
    assert probe.status_code == 200


async def test_owners_middleware_is_inside_id_log_and_limits(
    migrated_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(make_settings(migrated_url, max_body_bytes=100))
    ids = []
    bodies = []

    @app.middleware("http")
    async def own(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Response:
        ids.append(request_id.get())
        if "Authorization" not in request.headers:
            raise HTTPException(401, "Who is there?")
        bodies.append(await request.body())
        return Response(status_code=202)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 10

    caplog.set_level(logging.INFO, logger="app.access")
    headers = {"X-Request-ID": "mine", "Authorization": "me"}
    async with client_of(app) as client:
        responses = [
            await client.post("/", headers={"X-Request-ID": "mine"}),
            await client.post("/", headers=headers, content=b"x" * 101),
            await client.post("/", headers=headers, content=chunks()),
            await client.post("/", headers=headers, content=b"x" * 100),
        ]

    assert [response.status_code for response in responses] == [401, 413, 413, 202]
    for response in responses[:3]:
        assert response.headers["Content-Type"] == "application/problem+json"
    assert [response.headers["X-Request-ID"] for response in responses] == ["mine"] * 4
    assert ids == ["mine"] * 4
    assert bodies == [b"x" * 100]
    lines = [vars(record) for record in caplog.records if record.name == "app.access"]
    assert [line["status"] for line in lines] == [401, 413, 413, 202]
