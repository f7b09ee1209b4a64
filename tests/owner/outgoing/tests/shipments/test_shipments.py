"""A route that calls another service: it reads, calls and writes, and holds no connection while it
waits."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.kit.db import Database
from tests.kit.waiting import eventually
from tests.shipments.carrier import Carrier, client_leads_to, transport_to

URL = "/api/v1/shipments"


@pytest.fixture
async def carrier(live_app: FastAPI) -> AsyncIterator[Carrier]:
    """The carrier that the application calls."""
    carrier = Carrier()
    async with client_leads_to(live_app, transport_to(carrier)):
        yield carrier


async def create(client: AsyncClient) -> str:
    created = await client.post(URL, json={"city": "Oslo"})
    return f"{URL}/{created.json()['id']}"


async def test_price_comes_from_the_carrier(live_client: AsyncClient, carrier: Carrier) -> None:
    url = await create(live_client)

    priced = await live_client.post(f"{url}/price")

    assert (priced.status_code, priced.json()["price"]) == (200, "12.50")
    assert (await live_client.get(url)).json() == priced.json()


@pytest.mark.parametrize(
    ("status", "answer"), [(500, {}), (404, {}), (200, {"price": "free"}), (200, [])]
)
async def test_carrier_that_fails_is_a_bad_gateway(
    live_client: AsyncClient, carrier: Carrier, status: int, answer: object
) -> None:
    carrier.status, carrier.answer = status, answer
    url = await create(live_client)

    failed = await live_client.post(f"{url}/price")

    assert (failed.status_code, carrier.requests) == (502, 1)
    assert (await live_client.get(url)).json()["price"] is None


async def test_no_connection_is_held_while_the_carrier_thinks(
    live_app: FastAPI, live_client: AsyncClient, carrier: Carrier
) -> None:
    database: Database = live_app.state.database
    count = database.settings.database_pool_size + database.settings.database_max_overflow + 5
    url = await create(live_client)
    carrier.may_answer.clear()
    calls = [asyncio.create_task(live_client.post(f"{url}/price")) for _ in range(count)]

    async def all_wait() -> bool:
        return carrier.requests == count

    await eventually(all_wait)
    in_use = [queue.in_use for _, _, queue in database.pools]
    others = [await live_client.get(url), await live_client.post(URL, json={"city": "Rome"})]
    carrier.may_answer.set()
    priced = await asyncio.gather(*calls)

    assert in_use == [0, 0]
    assert [response.status_code for response in others] == [200, 201]
    assert {response.status_code for response in priced} == {200}
