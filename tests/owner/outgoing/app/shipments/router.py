"""The routes of shipments."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.clients import HttpClientDep
from app.kit.web import DatabaseDep, Id, ReadSession, Router, WriteSession
from app.settings import SettingsDep
from app.shipments import carrier, service
from app.shipments.models import Shipment
from app.shipments.schemas import ShipmentCreate, ShipmentRead

router = Router(prefix="/shipments", tags=["shipments"])


@router.post("", status_code=201, response_model=ShipmentRead)
async def create_shipment(data: ShipmentCreate, session: WriteSession) -> Shipment:
    """Create a shipment."""
    shipment = Shipment(city=data.city)
    session.add(shipment)
    await session.flush()
    return shipment


@router.get("/{shipment_id}", response_model=ShipmentRead)
async def get_shipment(shipment_id: Id, session: ReadSession) -> Shipment:
    """Get a shipment."""
    return await service.get_shipment(session, shipment_id)


@router.post("/{shipment_id}/price", response_model=ShipmentRead)
async def ask_for_price(
    shipment_id: Id,
    session: ReadSession,
    database: DatabaseDep,
    client: HttpClientDep,
    settings: SettingsDep,
) -> Shipment:
    """Ask the carrier what a shipment costs; no connection is held meanwhile."""
    shipment = await service.get_shipment(session, shipment_id)
    quote = await carrier.get_quote(client, settings.carrier_url, shipment.city)

    async def store(session: AsyncSession) -> Shipment:
        return await service.set_price(session, shipment_id, quote.price)

    return await database.run_transaction(store)
