"""A database error that was caught without a savepoint: success is never claimed for rows that the
database did not keep."""

from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import func, select

from app.kit.db import Database
from app.tags.models import Tag

URL = "/api/v1/tags"


async def count(database: Database) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(Tag)) or 0


async def test_caught_error_fails_the_request(live_app: FastAPI, live_client: AsyncClient) -> None:
    await live_client.post(URL, json={"name": "blue"})

    added = await live_client.post(f"{URL}/new", json={"names": ["red", "blue"]})

    assert added.status_code == 409
    assert await count(live_app.state.database) == 1


async def test_tests_see_what_production_does(client: AsyncClient, database: Database) -> None:
    await client.post(URL, json={"name": "blue"})

    added = await client.post(f"{URL}/new", json={"names": ["red", "blue"]})

    assert added.status_code == 409
    assert await count(database) == 1
