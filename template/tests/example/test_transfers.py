"""Transfers: no cent appears or disappears, whatever happens at the same time."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from httpx2 import AsyncClient

from tests.example.api import (
    ABSENT,
    API,
    Json,
    assert_problem,
    create_user,
    created,
    get,
    transfer,
    wrong_fields,
)
from tests.kit.fixtures import client_of, make_settings, running_app

URL = f"{API}/transfers"


@pytest.fixture
async def patient_client(own_url: str) -> AsyncIterator[AsyncClient]:
    """A client of a service that has time, however slow the machine is."""
    settings = make_settings(own_url, database_pool_timeout=60, request_timeout=60)
    async with running_app(settings) as app, client_of(app) as client:
        yield client


async def balance_of(client: AsyncClient, user: Json) -> Decimal:
    """What a user has now."""
    return Decimal((await get(client, f"/users/{user['id']}"))["balance"])


async def test_transfer_moves_money_and_is_recorded(client: AsyncClient) -> None:
    ada = await create_user(client, balance="10.00")
    bob = await create_user(client, balance="0.50")

    made = created(await transfer(client, ada, bob, "2.49"))

    parties = {"from_user_id": ada["id"], "to_user_id": bob["id"], "amount": "2.49"}
    assert made == {
        "id": made["id"],
        **parties,
        "from_balance": "7.51",
        "to_balance": "2.99",
    }
    assert await balance_of(client, ada) == Decimal("7.51")
    assert await balance_of(client, bob) == Decimal("2.99")
    recorded = await get(client, f"/transfers/{made['id']}")
    assert recorded == {"id": made["id"], **parties, "created_at": recorded["created_at"]}


async def test_a_thousand_cents_make_ten_exactly(client: AsyncClient) -> None:
    ada = await create_user(client, balance="999999999999.99")
    bob = await create_user(client)
    for amount in ["0.10", "0.20", "0.07"] * 3:
        created(await transfer(client, ada, bob, amount))

    assert await balance_of(client, bob) == Decimal("1.11")
    assert await balance_of(client, ada) == Decimal("999999999998.88")


async def test_whole_balance_can_be_sent(client: AsyncClient) -> None:
    ada, bob = await create_user(client, balance="5.00"), await create_user(client)

    assert created(await transfer(client, ada, bob, "5.00"))["from_balance"] == "0.00"


async def test_more_than_the_balance_is_a_conflict(client: AsyncClient) -> None:
    ada, bob = await create_user(client, balance="5.00"), await create_user(client)

    assert_problem(await transfer(client, ada, bob, "5.01"), 409)

    assert await balance_of(client, ada) == Decimal("5.00")
    assert await balance_of(client, bob) == 0


async def test_more_than_the_receiver_can_hold_is_a_conflict(client: AsyncClient) -> None:
    ada = await create_user(client, balance="0.01")
    bob = await create_user(client, balance="999999999999.99")

    assert_problem(await transfer(client, ada, bob, "0.01"), 409)

    assert await balance_of(client, ada) == Decimal("0.01")


@pytest.mark.parametrize(
    "amount",
    ["0", "0.00", "-1.00", "0.001", "1.005", "1e-3", "NaN", "Infinity", "1000000000000", "", "x"],
)
async def test_amount_that_cannot_be_moved_is_422(client: AsyncClient, amount: str) -> None:
    ada, bob = await create_user(client, balance="5.00"), await create_user(client)
    number = f'{{"from_user_id": {ada["id"]}, "to_user_id": {bob["id"]}, "amount": {amount}}}'

    assert wrong_fields(await transfer(client, ada, bob, amount)) == ["body.amount"]
    as_number = await client.post(URL, content=number, headers={"Content-Type": "application/json"})
    assert_problem(as_number, 422)

    assert await balance_of(client, ada) == Decimal("5.00")


async def test_transfer_to_oneself_is_422(client: AsyncClient) -> None:
    ada = await create_user(client, balance="5.00")

    assert_problem(await transfer(client, ada, ada, "1.00"), 422)

    assert await balance_of(client, ada) == Decimal("5.00")


async def test_absent_party_is_404(client: AsyncClient) -> None:
    ada, nobody = await create_user(client, balance="5.00"), {"id": ABSENT}

    assert_problem(await transfer(client, ada, nobody, "1.00"), 404)
    assert_problem(await transfer(client, nobody, ada, "1.00"), 404)
    assert_problem(await client.get(f"{URL}/{ABSENT}"), 404)

    assert await balance_of(client, ada) == Decimal("5.00")


async def test_transfer_outlives_its_parties(client: AsyncClient) -> None:
    ada, bob = await create_user(client, balance="5.00"), await create_user(client)
    made = created(await transfer(client, ada, bob, "1.00"))
    before = await get(client, f"/transfers/{made['id']}")

    assert (await client.delete(f"{API}/users/{ada['id']}")).status_code == 204
    after = await get(client, f"/transfers/{made['id']}")
    assert after == {**before, "from_user_id": None}

    assert (await client.delete(f"{API}/users/{bob['id']}")).status_code == 204
    after = await get(client, f"/transfers/{made['id']}")
    assert after == {**before, "from_user_id": None, "to_user_id": None}


async def test_two_hundred_transfers_at_once_leave_an_exact_ledger(
    patient_client: AsyncClient,
) -> None:
    users = [await create_user(patient_client, balance="5.00") for _ in range(3)]
    chance = random.Random(1)
    plan: list[tuple[int, int, Decimal]] = []
    for _ in range(200):
        sender, receiver = chance.sample(range(3), 2)
        plan.append((sender, receiver, Decimal(chance.randint(1, 400)) / 100))

    responses = await asyncio.gather(
        *(
            transfer(patient_client, users[sender], users[receiver], str(amount))
            for sender, receiver, amount in plan
        )
    )

    statuses = Counter(response.status_code for response in responses)
    assert statuses.keys() <= {201, 409}
    assert statuses[201] > 0
    expected = [Decimal("5.00")] * 3
    for (sender, receiver, amount), response in zip(plan, responses, strict=True):
        if response.status_code == 201:
            assert Decimal(response.json()["from_balance"]) >= 0
            expected[sender] -= amount
            expected[receiver] += amount
    balances = [await balance_of(patient_client, user) for user in users]
    assert balances == expected
    assert sum(balances) == 15
    assert min(balances) >= 0


async def test_transfers_in_opposite_directions_do_not_deadlock(live_client: AsyncClient) -> None:
    ada = await create_user(live_client, balance="100.00")
    bob = await create_user(live_client, balance="100.00")

    responses = await asyncio.gather(
        *(transfer(live_client, *pair, "1.00") for pair in [(ada, bob), (bob, ada)] * 20)
    )

    assert {response.status_code for response in responses} == {201}
    assert [await balance_of(live_client, user) for user in (ada, bob)] == [100, 100]


async def test_a_balance_is_spent_once(live_client: AsyncClient) -> None:
    ada, bob = await create_user(live_client, balance="5.00"), await create_user(live_client)

    responses = await asyncio.gather(*(transfer(live_client, ada, bob, "5.00") for _ in range(20)))

    assert Counter(response.status_code for response in responses) == {201: 1, 409: 19}
    assert await balance_of(live_client, ada) == 0
    assert await balance_of(live_client, bob) == 5
