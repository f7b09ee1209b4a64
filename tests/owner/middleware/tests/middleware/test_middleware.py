"""The service's own middleware runs inside the request id, the access log and the limits."""

import logging

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.settings import Settings
from tests.kit.fixtures import client_of, make_settings, running_app

URL = "/api/v1/notes"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", URL, 200), ("POST", URL, 422), ("GET", "/nowhere", 404), ("PATCH", URL, 405)],
)
async def test_every_response_passes_it(
    client: AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path, headers={"X-Tenant": "acme"})

    assert response.status_code == status
    assert response.headers["X-Tenant"] == "acme"
    assert response.headers["X-Service"] == Settings.model_fields["title"].default
    assert response.headers["X-Request-ID"]


async def test_what_it_answers_itself_has_an_id_and_is_logged(
    app: FastAPI, client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    app.state.maintenance = True
    try:
        with caplog.at_level(logging.INFO):
            response = await client.get(URL, headers={"X-Request-ID": "abc-1"})
    finally:
        del app.state.maintenance

    assert (response.status_code, response.json()) == (503, {"detail": "Back at noon."})
    assert response.headers["X-Request-ID"] == "abc-1"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    [line] = [record for record in caplog.records if hasattr(record, "status")]
    assert line.status == 503


async def test_body_that_is_too_large_never_reaches_it(own_url: str) -> None:
    settings = make_settings(own_url, max_body_bytes=100)
    async with running_app(settings) as app, client_of(app) as client:
        response = await client.post(URL, json={"text": "x" * 200})

    assert response.status_code == 413
    assert "X-Request-ID" in response.headers
