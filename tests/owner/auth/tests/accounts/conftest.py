"""An identity provider whose tokens the service accepts."""

from collections.abc import Iterator

import pytest
from jwt import PyJWKClient

from app.auth import signing_keys
from tests.accounts.identity import IdentityProvider


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityProvider]:
    """The identity provider, which answers without a network."""
    provider = IdentityProvider()
    monkeypatch.setattr(PyJWKClient, "fetch_data", lambda self: provider.jwks())
    signing_keys.cache_clear()
    yield provider
    signing_keys.cache_clear()
