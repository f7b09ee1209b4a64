"""The routes of transfers."""

from fastapi import APIRouter, Request, Response

from app.transfers import service
from app.transfers.models import Transfer
from app.transfers.schemas import TransferCreate, TransferMade, TransferRead
from app.web.fields import Id
from app.web.locations import CREATED, set_location
from app.web.transaction import ReadSession, TransactionalRoute, WriteSession

router = APIRouter(prefix="/transfers", tags=["transfers"], route_class=TransactionalRoute)


@router.post("", status_code=201, response_model=TransferMade, responses=CREATED)
async def create_transfer(
    data: TransferCreate, session: WriteSession, request: Request, response: Response
) -> service.MadeTransfer:
    """Move money between two users."""
    made = await service.make_transfer(session, data.from_user_id, data.to_user_id, data.amount)
    set_location(request, response, "get_transfer", transfer_id=made.id)
    return made


@router.get("/{transfer_id}", response_model=TransferRead)
async def get_transfer(transfer_id: Id, session: ReadSession) -> Transfer:
    """Get a transfer."""
    return await service.get_transfer(session, transfer_id)
