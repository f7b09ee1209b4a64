"""A carrier to test with: an application of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Response
from httpx2 import ASGITransport, AsyncBaseTransport, AsyncClient

from app.clients import get_http_client


class Carrier:
    """Answers as told, and when told."""

    def __init__(self) -> None:
        self.answer: Any = {"price": "12.50"}
        self.status = 200
        self.requests = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.app = FastAPI()
        self.app.get("/quotes")(self._quote)

    async def _quote(self, city: str, response: Response) -> Any:
        self.requests += 1
        await self.may_answer.wait()
        response.status_code = self.status
        return self.answer


@asynccontextmanager
async def client_leads_to(app: FastAPI, transport: AsyncBaseTransport) -> AsyncIterator[None]:
    """Within the block, the application's client calls what the transport leads to."""
    async with AsyncClient(transport=transport) as client:
        app.dependency_overrides[get_http_client] = lambda: client
        yield
        del app.dependency_overrides[get_http_client]


def transport_to(carrier: Carrier) -> ASGITransport:
    """What leads to a carrier."""
    return ASGITransport(carrier.app)
