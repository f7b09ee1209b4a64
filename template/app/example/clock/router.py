"""The route of the time."""

from app.example.clock import service
from app.example.clock.schemas import Time
from app.kit.web import ReadSession, Router

router = Router(prefix="/time", tags=["time"])


@router.get("")
async def get_time(session: ReadSession) -> Time:
    """Get the time of the database."""
    return Time(now=await service.get_time(session))
