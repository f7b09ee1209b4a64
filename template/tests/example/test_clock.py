"""The time of the database."""

from datetime import UTC, datetime, timedelta

from httpx2 import AsyncClient


async def test_time_is_that_of_the_database_with_its_offset(client: AsyncClient) -> None:
    response = await client.get("/api/v1/time")

    assert response.status_code == 200
    now = datetime.fromisoformat(response.json()["now"])
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)
