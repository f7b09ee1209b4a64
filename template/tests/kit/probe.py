"""Tables and routes for the kit's tests, with separate metadata: they are no part of the service's
schema, and migrations and readiness ignore them."""

import asyncio
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID, uuid4

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Enum as SQLEnum
from sqlalchemy import ForeignKey, LargeBinary, MetaData, QueuePool, String, delete, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.kit.db.base import Base, BigInt, Money, UTCDateTime
from app.kit.db.database import Database
from app.kit.db.engine import create_engine
from app.kit.db.idempotency import IdempotencyRecord
from app.kit.db.pagination import Page, PageQuery, paginate
from app.kit.errors import DomainError
from app.kit.settings import KitSettings
from app.kit.web.locations import set_location
from app.kit.web.transaction import ReadSession, Router, WriteSession
from tests.kit.faults import DEFERS

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class ProbeBase(DeclarativeBase):
    """A separate base, not the service's."""

    metadata = MetaData(naming_convention=Base.metadata.naming_convention)


class Probe(ProbeBase):
    """A row to write. A missing parent is an error at COMMIT, where databases support that."""

    __tablename__ = "probes"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    count: Mapped[int] = mapped_column(insert_default=0)
    remark: Mapped[str] = mapped_column("note", String(50), server_default="none")
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("probes.id", deferrable=DEFERS, initially="DEFERRED" if DEFERS else None)
    )


class State(Enum):
    """An enum, which some databases sort by position."""

    OPEN = "open"
    CLOSED = "closed"


class Sample(ProbeBase):
    """A row with a value of each type that can order a list, and of some that cannot."""

    __tablename__ = "samples"

    id: Mapped[UUID] = mapped_column(primary_key=True, insert_default=uuid4)
    label: Mapped[str] = mapped_column(String(20))
    rank: Mapped[int] = mapped_column(index=True)
    happened_at: Mapped[datetime] = mapped_column(UTCDateTime)
    day: Mapped[date]
    price: Mapped[Decimal] = mapped_column(Money(12))
    state: Mapped[State] = mapped_column(SQLEnum(State, native_enum=False))
    native_state: Mapped[State]
    flag: Mapped[bool]
    token: Mapped[bytes] = mapped_column(LargeBinary(8))
    weight: Mapped[float]
    comment: Mapped[str | None] = mapped_column(String(20))


class Seat(ProbeBase):
    """A row with a composite primary key."""

    __tablename__ = "seats"

    row: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    price: Mapped[Decimal] = mapped_column(Money(12))


class ProbeNotFoundError(DomainError):
    """No probe has this id."""

    status = 404


class ProbeCreate(BaseModel):
    """A new probe."""

    name: str
    parent_id: int | None = None


class ProbeRead(BaseModel):
    """A probe."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    count: int


PROBES = select(Probe)
router = Router(prefix="/probes")


@router.post("", status_code=201, response_model=ProbeRead)
async def create_probe(
    data: ProbeCreate, session: WriteSession, request: Request, response: Response
) -> Probe:
    """Create a probe."""
    probe = Probe(**data.model_dump())
    session.add(probe)
    await session.flush()
    set_location(request, response, "get_probe", probe_id=probe.id)
    return probe


@router.get("", response_model=Page[ProbeRead])
async def list_probes(
    session: ReadSession, page: Annotated[PageQuery, Query()], name: str | None = None
) -> Page[Probe]:
    """List probes."""
    statement = PROBES if name is None else PROBES.where(Probe.name == name)
    return await paginate(session, statement, page)


@router.get("/{probe_id}", response_model=ProbeRead)
async def get_probe(probe_id: int, session: ReadSession) -> Probe:
    """Get a probe."""
    probe = await session.get(Probe, probe_id)
    if probe is None:
        raise ProbeNotFoundError(f"There is no probe {probe_id}.")
    return probe


def add_route(app: FastAPI, method: str = "POST") -> Callable[[Endpoint], Endpoint]:
    """Serve the decorated function at `/<its name>`, in a transaction."""

    def add(endpoint: Endpoint) -> Endpoint:
        path = f"/{endpoint.__name__}"
        taken: set[str] = getattr(app.state, "added_paths", set())
        assert path not in taken, "the application is shared: choose another name"
        app.state.added_paths = taken | {path}
        routes = Router()
        routes.add_api_route(path, endpoint, methods=[method])
        app.include_router(routes)
        return endpoint

    return add


async def create_table(settings: KitSettings) -> None:
    """Create the table of probes."""
    engine = create_engine(settings, "migrate")
    async with engine.begin() as connection:
        await connection.run_sync(ProbeBase.metadata.create_all)
    await engine.dispose()


async def add_probes(database: Database, *names: str) -> None:
    """Write probes with these names, in this order."""
    async with database.write() as session:
        session.add_all([Probe(name=name) for name in names])


async def delete_all(database: Database) -> None:
    """Delete the rows of earlier tests."""
    async with database.write() as session:
        await session.execute(delete(Probe))
        await session.execute(delete(IdempotencyRecord))


async def names_of(database: Database) -> list[str]:
    """The names of all committed probes, in the order of their ids."""
    async with database.read() as session:
        return list((await session.scalars(select(Probe.name).order_by(Probe.id))).all())


async def all_returned(database: Database) -> bool:
    """Whether all connections are returned to their pools; those of housekeeping have a moment."""
    pools = [cast(QueuePool, engine.pool) for engine in (database.writer, database.reader)]
    for _ in range(50):
        if not any(pool.checkedout() for pool in pools):
            return True
        await asyncio.sleep(0.01)
    return False
