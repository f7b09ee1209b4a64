"""An identity provider whose tokens the application of the test accepts."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from app.accounts.authentication import get_signing_keys
from app.accounts.keys import SigningKeys
from tests.accounts.identity import IdentityProvider


@pytest.fixture
async def provider(app: FastAPI) -> AsyncIterator[IdentityProvider]:
    """The identity provider."""
    provider = IdentityProvider()
    provider.add_key()
    async with AsyncClient(transport=provider.transport) as client:
        keys = SigningKeys(client, "https://login.example.com/keys")
        app.dependency_overrides[get_signing_keys] = lambda: keys
        yield provider
