"""The fixtures of all tests."""

from httpx2 import AsyncClient

from app.kit.db.database import Database
from tests.kit.fixtures import ClientWith
from tests.kit.probe import add_probes, names_of


async def names(client: AsyncClient) -> list[str]:
    return [item["name"] for item in (await client.get("/probes")).json()["items"]]


async def test_database_and_requests_see_each_other(
    database: Database, client: AsyncClient
) -> None:
    await add_probes(database, "by the test")
    await client.post("/probes", json={"name": "by a request"})

    assert await names(client) == ["by the test", "by a request"]
    assert await names_of(database) == ["by the test", "by a request"]


async def test_what_a_test_wrote_is_gone(client: AsyncClient) -> None:
    assert await names(client) == []


async def test_settings_of_one_test(client_with: ClientWith) -> None:
    async with client_with(max_body_bytes=10) as client:
        assert (await client.post("/nowhere", content=b"x" * 11)).status_code == 413
