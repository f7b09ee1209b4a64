"""Pages of a list by keyset: each begins after the last id of the one before, so that page 1,000
costs what page 1 costs, and rows that come and go shift nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import BigInteger, Column, Integer, Select, bindparam
from sqlalchemy.orm import InstrumentedAttribute

from app.kit.db.sessions import AsyncReadSession


class HasId(Protocol):
    """An object by whose id pages can go."""

    @property
    def id(self) -> Any: ...


# By the names of the columns.
Row = dict[str, Any]

T = TypeVar("T")
Object = TypeVar("Object", bound=HasId)
FIRST_PAGE = -(2**63)


@dataclass(frozen=True)
class PageRequest:
    """Which page: at most `limit` rows whose id is greater than `after`."""

    after: int = FIRST_PAGE
    limit: int = 50


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page; `next` is the id after which the following one begins, None on the last."""

    items: Sequence[T]
    next: int | None


def paged(statement: Select[T], by: InstrumentedAttribute[int] | Column[int]) -> Select[T]:
    """Make a statement that gives one page. Make it once, at module level: building a statement
    costs more than the database takes to run it."""
    return (
        statement.where(by > bindparam("page_after", type_=BigInteger()))
        .order_by(by)
        .limit(bindparam("page_limit", type_=Integer()))
    )


async def fetch_page(
    session: AsyncReadSession, statement: Select[Object], page: PageRequest, **parameters: Any
) -> Page[Object]:
    """Run a statement made by `paged`; `parameters` are the values of its other parameters."""
    result = await session.scalars(statement, _values(page, parameters))
    found = result.all()
    objects = found[: page.limit]
    return Page(objects, objects[-1].id if len(found) > page.limit else None)


async def fetch_rows(
    session: AsyncReadSession, statement: Select[Any], page: PageRequest, **parameters: Any
) -> Page[Row]:
    """As `fetch_page`, for a statement on a table: its rows as dicts. A page of them costs two
    thirds of one of objects, which somebody could change or load more from."""
    result = await session.execute(statement, _values(page, parameters))
    columns = tuple(result.keys())
    # Not `result.mappings()`: to read those costs ten times as much.
    found = [dict(zip(columns, row, strict=True)) for row in result]
    rows = found[: page.limit]
    return Page(rows, rows[-1]["id"] if len(found) > page.limit else None)


def _values(page: PageRequest, parameters: dict[str, Any]) -> dict[str, Any]:
    # One row more than asked for tells whether there is a next page.
    return {"page_after": page.after, "page_limit": page.limit + 1, **parameters}
