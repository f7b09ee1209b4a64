"""What an HTTPException has besides a sentence is in the problem."""

import pytest
from httpx2 import AsyncClient

from app.tags import router

URL = "/api/v1/tags"


async def test_detail_of_an_http_exception_may_be_an_object(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "MOST", 0)

    refused = await client.post(URL, json={"name": "one too many"})

    assert refused.status_code == 409
    problem = refused.json()
    assert (problem["title"], problem["status"]) == ("Conflict", 409)
    assert (problem["detail"], problem["most"]) == ("There are too many tags.", 0)
