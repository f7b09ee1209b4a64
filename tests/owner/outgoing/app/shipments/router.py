"""The routes of shipments."""

from app.clients import HttpClientDep
from app.errors import NotFoundError
from app.kit.web import DatabaseDep, Id, ReadSession, Router, WriteSession
from app.settings import SettingsDep
from app.shipments import carrier
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
    shipment = await session.get(Shipment, shipment_id)
    if shipment is None:
        raise NotFoundError("shipment", shipment_id)
    return shipment


@router.post("/{shipment_id}/price", response_model=ShipmentRead)
async def ask_for_price(
    shipment_id: Id, database: DatabaseDep, client: HttpClientDep, settings: SettingsDep
) -> Shipment:
    """Ask the carrier what a shipment costs; no connection is held meanwhile."""
    async with database.read() as reader:
        shipment = await reader.get(Shipment, shipment_id)
    if shipment is None:
        raise NotFoundError("shipment", shipment_id)
    quote = await carrier.get_quote(client, settings.carrier_url, shipment.city)
    async with database.write() as writer:
        shipment = await writer.get(Shipment, shipment_id)
        if shipment is None:
            raise NotFoundError("shipment", shipment_id)
        shipment.price = quote.price
    return shipment
