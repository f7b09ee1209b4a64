"""What docs/extending.md of a service adds to it does what the page says."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI
from httpx2 import AsyncClient
from jwt.algorithms import RSAAlgorithm

from app.auth import get_subject, signing_keys
from tests.kit.fixtures import client_of, make_settings, running_app
from tests.kit.waiting import eventually

NOTES = "/api/v1/notes"
ME = "/api/v1/me"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


async def create(client: AsyncClient, *texts: str) -> None:
    for text in texts:
        assert (await client.post(NOTES, json={"text": text})).status_code == 201


async def test_list_is_newest_first_and_may_be_filtered(client: AsyncClient) -> None:
    await create(client, "Buy milk.", "Read.", "Buy tea.")

    first = (await client.get(NOTES, params={"limit": 2})).json()
    second = (await client.get(NOTES, params={"limit": 2, "after": first["next"]})).json()
    found = (await client.get(NOTES, params={"text": "Buy"})).json()

    texts = [note["text"] for note in first["items"] + second["items"]]
    assert (texts, second["next"]) == (["Buy tea.", "Read.", "Buy milk."], None)
    assert [note["text"] for note in found["items"]] == ["Buy tea.", "Buy milk."]


async def test_domain_error_has_its_own_status(client: AsyncClient) -> None:
    await create(client, "Keep me.", "Drop me.")
    drop, keep = (await client.get(NOTES)).json()["items"]

    refused = await client.delete(f"{NOTES}/{keep['id']}")

    assert (refused.status_code, refused.json()["detail"]) == (403, "This note is to be kept.")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (await client.delete(f"{NOTES}/{drop['id']}")).status_code == 204
    assert (await client.get(f"{NOTES}/{drop['id']}")).status_code == 404
    assert (await client.get(f"{NOTES}/{keep['id']}")).status_code == 200


async def test_endpoint_gets_the_settings(own_url: str) -> None:
    settings = make_settings(own_url, support_email="us@example.com")

    async with running_app(settings) as app, client_of(app) as client:
        assert (await client.get("/api/v1/contact")).json() == {"email": "us@example.com"}


async def test_job_runs_at_start_up(own_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app")

    async def was_counted() -> bool:
        return any(getattr(record, "notes", None) == 0 for record in caplog.records)

    async with running_app(make_settings(own_url)) as app:
        await eventually(was_counted)
        assert app.state.render_threads.submit(int, "1").result() == 1

    with pytest.raises(RuntimeError, match="after shutdown"):
        app.state.render_threads.submit(int, "1")


async def test_stream_holds_all_notes(client: AsyncClient) -> None:
    texts = [f"note {number}" for number in range(3)]
    await create(client, *texts)

    assert (await client.get("/api/v1/notes.txt")).text.splitlines() == texts


async def test_middleware_is_inside_the_request_id(client: AsyncClient) -> None:
    await create(client, "x" * 500, "y" * 500, "z" * 500)

    response = await client.get(NOTES, headers={"Accept-Encoding": "gzip"})

    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["X-Request-ID"]


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An identity provider with one key."""
    jwk = RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    keys = {"keys": [{**jwk, "kid": "1", "alg": "RS256", "use": "sig"}]}
    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", lambda self: keys)
    signing_keys.cache_clear()
    yield
    signing_keys.cache_clear()


def token(key: Any = KEY, algorithm: str = "RS256", **changes: Any) -> dict[str, str]:
    claims = {
        "sub": "alice",
        "iss": "https://login.example.com/",
        "aud": "notes",
        "exp": time.time() + 60,
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    text = jwt.encode(claims, key, algorithm, headers={"kid": "1"})
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.usefixtures("provider")
async def test_valid_token_names_its_subject(client: AsyncClient) -> None:
    response = await client.get(ME, headers=token())

    assert (response.status_code, response.json()) == (200, {"subject": "alice"})


OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Basic YTpi"}, id="basic"),
        pytest.param({"Authorization": "Bearer nonsense"}, id="nonsense"),
        pytest.param(token(exp=time.time() - 60), id="expired"),
        pytest.param(token(exp=None), id="without-expiry"),
        pytest.param(token(aud="others"), id="audience"),
        pytest.param(token(iss="https://evil.example.com/"), id="issuer"),
        pytest.param(token(OTHER_KEY), id="signature"),
        pytest.param(token(None, "none"), id="unsigned"),
        pytest.param(token("secret" * 8, "HS256"), id="symmetric"),
    ],
)
async def test_invalid_token_is_refused(client: AsyncClient, headers: dict[str, str]) -> None:
    response = await client.get(ME, headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.usefixtures("provider")
async def test_unreachable_provider_is_no_fault_of_the_client(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: jwt.PyJWKClient) -> None:
        raise jwt.PyJWKClientConnectionError("refused")

    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fail)

    response = await client.get(ME, headers=token())

    assert response.status_code == 503
    assert response.headers["Retry-After"]


async def test_dependency_may_be_replaced(app: FastAPI, client: AsyncClient) -> None:
    app.dependency_overrides[get_subject] = lambda: "bob"

    assert (await client.get(ME)).json() == {"subject": "bob"}
