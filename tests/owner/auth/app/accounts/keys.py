"""The keys by which the identity provider signs its tokens."""

import asyncio
import time

from httpx2 import AsyncClient
from jwt import PyJWK, PyJWKSet

# Seconds between two requests for the keys, so that tokens with invented key ids cause no load.
MIN_PAUSE = 10


class SigningKeys:
    """The keys of a JWKS, fetched when one is asked for that is not there."""

    def __init__(self, client: AsyncClient, url: str) -> None:
        self._client = client
        self._url = url
        self._keys: dict[str | None, PyJWK] = {}
        self._fetched = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, key_id: str | None) -> PyJWK | None:
        """The key with this id, or None."""
        async with self._lock:
            if key_id not in self._keys and time.monotonic() - self._fetched > MIN_PAUSE:
                response = await self._client.get(self._url)
                response.raise_for_status()
                keys = PyJWKSet.from_dict(response.json()).keys
                self._keys = {key.key_id: key for key in keys}
                self._fetched = time.monotonic()
        return self._keys.get(key_id)
