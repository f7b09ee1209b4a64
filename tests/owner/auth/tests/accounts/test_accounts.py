"""Who may do what: a bearer token says who it is, the database what they may."""

import time
from typing import Any

import pytest
from httpx2 import AsyncClient

from app.kit.db import Database
from tests.accounts.identity import IdentityProvider, add_account

API = "/api/v1"
TITLE = {"title": "On tests"}


async def test_token_says_who_it_is(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    account_id = await add_account(database, "ada")

    me = await client.get(f"{API}/me", headers=provider.sign("ada"))

    assert me.status_code == 200
    assert me.json() == {"id": account_id, "name": "Ada", "is_editor": False}


async def test_request_without_a_token_is_told_what_it_lacks(
    client: AsyncClient, provider: IdentityProvider
) -> None:
    refused = await client.post(f"{API}/articles", json=TITLE)

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"exp": int(time.time()) - 60}, id="expired"),
        pytest.param({"exp": None}, id="for ever"),
        pytest.param({"aud": "another"}, id="for another service"),
        pytest.param({"iss": "https://elsewhere.example.com"}, id="of another issuer"),
        pytest.param({"sub": None}, id="of nobody"),
    ],
)
async def test_token_that_is_not_valid_is_refused(
    client: AsyncClient, database: Database, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    await add_account(database, "ada")

    refused = await client.get(f"{API}/me", headers=provider.sign("ada", **claims))

    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"


async def test_token_of_another_signer_is_refused(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    await add_account(database, "ada")
    other = IdentityProvider()

    refused = [
        await client.get(f"{API}/me", headers=other.sign("ada")),
        await client.get(f"{API}/me", headers={"Authorization": "Bearer not.a.token"}),
    ]

    assert [response.status_code for response in refused] == [401, 401]


async def test_token_without_an_account_is_forbidden(
    client: AsyncClient, provider: IdentityProvider
) -> None:
    refused = await client.get(f"{API}/me", headers=provider.sign("nobody"))

    assert (refused.status_code, refused.json()["detail"]) == (403, "You have no account.")


async def test_new_key_of_the_provider_is_found(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    await add_account(database, "ada")
    await client.get(f"{API}/me", headers=provider.sign("ada"))

    provider.keys += IdentityProvider().keys

    assert (await client.get(f"{API}/me", headers=provider.sign("ada"))).status_code == 200


async def test_article_belongs_to_who_wrote_it(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    account_id = await add_account(database, "ada")
    await add_account(database, "eve")
    created = await client.post(f"{API}/articles", json=TITLE, headers=provider.sign("ada"))
    assert (created.status_code, created.json()["author_id"]) == (201, account_id)
    url = f"{API}/articles/{created.json()['id']}"

    refused = await client.put(url, json={"title": "Mine"}, headers=provider.sign("eve"))
    changed = await client.put(url, json={"title": "New"}, headers=provider.sign("ada"))

    assert refused.status_code == 403
    assert (changed.status_code, changed.json()["title"]) == (200, "New")
    assert changed.json()["created_at"] == created.json()["created_at"]
    assert changed.json()["updated_at"] > created.json()["updated_at"]


async def test_editors_may_do_more(
    client: AsyncClient, database: Database, provider: IdentityProvider
) -> None:
    ada = await add_account(database, "ada")
    await add_account(database, "eve", is_editor=True)
    url = f"{API}/accounts/{ada}/editor"

    refused = await client.put(url, headers=provider.sign("ada"))
    listed = await client.get(f"{API}/accounts", headers=provider.sign("ada"))
    made = await client.put(url, headers=provider.sign("eve"))
    found = await client.get(f"{API}/accounts", headers=provider.sign("ada"))

    assert (refused.status_code, listed.status_code) == (403, 403)
    assert refused.json()["detail"] == "Only editors may do this."
    assert (made.status_code, found.status_code) == (204, 200)
    assert [account["name"] for account in found.json()] == ["Ada", "Eve"]
