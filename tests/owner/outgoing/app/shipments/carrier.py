"""The carrier: another service, which knows prices."""

from httpx2 import AsyncClient, HTTPError
from pydantic import ValidationError

from app.kit.web import DomainError
from app.shipments.schemas import Quote


class CarrierError(DomainError):
    """The carrier does not answer, or not as agreed."""

    status = 502


async def get_quote(client: AsyncClient, url: str, city: str) -> Quote:
    """What the carrier takes for a shipment to a city.

    Raises:
        CarrierError: It says nothing that can be used.
    """
    try:
        response = await client.get(f"{url}/quotes", params={"city": city})
        response.raise_for_status()
        return Quote.model_validate_json(response.content)
    except (HTTPError, ValidationError) as error:
        raise CarrierError("The carrier does not answer.") from error
