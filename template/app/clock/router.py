"""The route of the time."""

from fastapi import APIRouter

from app.clock import service
from app.clock.schemas import Time
from app.web.transaction import ReadSession, TransactionalRoute

router = APIRouter(prefix="/time", tags=["time"], route_class=TransactionalRoute)


@router.get("")
async def get_time(session: ReadSession) -> Time:
    """Get the time of the database."""
    return Time(now=await service.get_time(session))
