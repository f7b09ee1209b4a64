"""What can be done with shipments."""

from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import NotFoundError
from app.kit.db import AsyncReadSession
from app.shipments.models import Shipment


async def get_shipment(session: AsyncReadSession, shipment_id: int) -> Shipment:
    """One shipment.

    Raises:
        NotFoundError: There is none with this id.
    """
    shipment = await session.get(Shipment, shipment_id)
    if shipment is None:
        raise NotFoundError("shipment", shipment_id)
    return shipment


async def set_price(session: AsyncSession, shipment_id: int, price: Decimal) -> Shipment:
    """Write down what a shipment costs.

    Raises:
        NotFoundError: There is none with this id, any more.
    """
    shipment = await get_shipment(session, shipment_id)
    shipment.price = price
    return shipment
