"""The routes of transfers."""

from fastapi import Request, Response

from app.example.transfers import service
from app.example.transfers.models import Transfer
from app.example.transfers.schemas import TransferCreate, TransferMade, TransferRead
from app.kit.web import CREATED, Id, ReadSession, Router, WriteSession, set_location

router = Router(prefix="/transfers", tags=["transfers"])


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
