"""The client by which this service calls others; `app/jobs.py` opens and closes it."""

from typing import Annotated

from fastapi import Depends
from httpx2 import AsyncClient
from starlette.requests import HTTPConnection


async def get_http_client(connection: HTTPConnection) -> AsyncClient:
    """The client of this process."""
    client: AsyncClient = connection.app.state.http_client
    return client


HttpClientDep = Annotated[AsyncClient, Depends(get_http_client)]
