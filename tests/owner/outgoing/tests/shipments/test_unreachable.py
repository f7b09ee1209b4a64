"""A service that cannot be reached is no database that cannot be reached: nothing is repeated."""

from fastapi import FastAPI
from httpx2 import AsyncBaseTransport, AsyncClient, ConnectError, Request, Response

from tests.shipments.carrier import client_leads_to

URL = "/api/v1/shipments"


class Unreachable(AsyncBaseTransport):
    """Refuses connections, as an HTTP client reports it."""

    def __init__(self) -> None:
        self.attempts = 0

    async def handle_async_request(self, request: Request) -> Response:
        """Fail."""
        self.attempts += 1
        raise ConnectError("refused") from ConnectionRefusedError()


async def test_unreachable_service_is_called_once(
    live_app: FastAPI, live_client: AsyncClient
) -> None:
    created = await live_client.post(URL, json={"city": "Oslo"})
    unreachable = Unreachable()

    async with client_leads_to(live_app, unreachable):
        failed = await live_client.post(f"{URL}/{created.json()['id']}/price")

    assert (failed.status_code, unreachable.attempts) == (502, 1)
