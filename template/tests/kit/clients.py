"""Clients without a network."""

from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient


def client_of(app: FastAPI) -> AsyncClient:
    """A client that calls an application in this process."""
    return AsyncClient(transport=ASGITransport(app), base_url="http://test")
