"""What protects the service, and those who use it, without anybody asking for it."""

import pytest
from httpx2 import AsyncClient


@pytest.mark.parametrize("path", ["/health/live", "/docs", "/openapi.json", "/nowhere"])
async def test_answers_tell_browsers_what_not_to_do(client: AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_pages_of_other_origins_may_read_nothing(client: AsyncClient) -> None:
    response = await client.get("/health/live", headers={"Origin": "https://example.com"})

    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_trace_is_refused(client: AsyncClient) -> None:
    response = await client.request("TRACE", "/health/live")

    assert response.status_code == 405
