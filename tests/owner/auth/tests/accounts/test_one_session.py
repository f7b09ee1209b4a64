"""Who was loaded to authenticate a request is an object like any other in its transaction; and a
response is repeated to nobody but who got it."""

from httpx2 import AsyncClient

from app.kit.db import Database
from tests.accounts.identity import IdentityProvider, add_account

API = "/api/v1"
TITLE = {"title": "On tests"}


async def test_account_of_the_request_can_be_stored_with_what_it_writes(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    account_id = await add_account(database, "ada")

    created = await client.post(f"{API}/articles/signed", json=TITLE, headers=provider.sign("ada"))

    assert created.status_code == 201
    assert created.json()["author_id"] == account_id
    assert created.json()["title"] == "On tests (Ada)"


async def test_no_response_is_repeated_to_somebody_else(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    await add_account(database, "ada")
    await add_account(database, "eve")
    url, key = f"{API}/articles", {"Idempotency-Key": "1"}
    first = await client.post(url, json=TITLE, headers=key | provider.sign("ada"))

    anonymous = await client.post(url, json=TITLE, headers=key)
    eve = await client.post(url, json=TITLE, headers=key | provider.sign("eve"))
    forged = await client.post(url, json=TITLE, headers=key | {"Authorization": "Bearer x"})
    again = await client.post(url, json=TITLE, headers=key | provider.sign("ada"))

    assert first.status_code == 201
    assert (anonymous.status_code, forged.status_code) == (401, 401)
    assert 400 <= eve.status_code < 500
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotency-Replayed"] == "true"


async def test_response_is_repeated_to_a_newer_token_of_the_same_account(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    await add_account(database, "ada")
    url, key = f"{API}/articles", {"Idempotency-Key": "1"}
    first = await client.post(url, json=TITLE, headers=key | provider.sign("ada", jti="1"))

    again = await client.post(url, json=TITLE, headers=key | provider.sign("ada", jti="2"))

    assert (again.status_code, again.json()) == (201, first.json())
