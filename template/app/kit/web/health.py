"""Liveness and readiness, for orchestrators and load balancers."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from app.kit.db.database import Database

router = APIRouter(prefix="/health", tags=["health"])


class Liveness(BaseModel):
    """The process is running."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether to route requests to this process, with the result of each check."""

    status: Literal["ready", "unready"]
    checks: dict[str, str]


@router.get("/live")
@router.head("/live", include_in_schema=False)
async def get_liveness() -> Liveness:
    """Whether the process is running, independent of the database."""
    return Liveness()


@router.get("/ready", responses={503: {"model": Readiness}})
@router.head("/ready", include_in_schema=False)
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Whether the service can handle requests; responds within two seconds."""
    if request.app.state.shutdown.announced:
        response.status_code = 503
        return Readiness(status="unready", checks={"service": "shutting down"})
    database: Database = request.app.state.database
    ready, checks = await database.check_readiness()
    response.status_code = 200 if ready else 503
    return Readiness(status="ready" if ready else "unready", checks=checks)
