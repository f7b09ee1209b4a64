"""Pages of a list by keyset: each begins after the last id of the one before, so that page 1,000
costs what page 1 costs, and rows that come and go shift nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import BigInteger, Column, Integer, Select, bindparam
from sqlalchemy.orm import InstrumentedAttribute

from app.db.sessions import AsyncReadSession


class HasId(Protocol):
    """A row by whose id pages can go."""

    @property
    def id(self) -> Any: ...


Row = TypeVar("Row", bound=HasId)
FIRST_PAGE = -(2**63)


@dataclass(frozen=True)
class PageRequest:
    """Which page: at most `limit` rows whose id is greater than `after`."""

    after: int = FIRST_PAGE
    limit: int = 50


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page; `next` is the id after which the following one begins, None on the last."""

    items: Sequence[Row]
    next: int | None


def paged(statement: Select[Row], by: InstrumentedAttribute[int] | Column[int]) -> Select[Row]:
    """Make a statement that gives one page. Make it once, at module level: building a statement
    costs more than the database takes to run it."""
    return (
        statement.where(by > bindparam("page_after", type_=BigInteger()))
        .order_by(by)
        .limit(bindparam("page_limit", type_=Integer()))
    )


async def fetch_page(
    session: AsyncReadSession, statement: Select[Row], page: PageRequest, **parameters: Any
) -> Page[Row]:
    """Run a statement made by `paged`; `parameters` are the values of its other parameters."""
    objects = await session.scalars(statement, _values(page, parameters))
    return _page(objects.all(), page.limit)


async def fetch_rows(
    session: AsyncReadSession, statement: Select[Any], page: PageRequest, **parameters: Any
) -> Page[Any]:
    """As `fetch_page`, for a statement on tables or columns: its rows, with an attribute for each
    column. They cost half of what objects do, which somebody could change or load more from."""
    rows = await session.execute(statement, _values(page, parameters))
    return _page(rows.all(), page.limit)


def _values(page: PageRequest, parameters: dict[str, Any]) -> dict[str, Any]:
    # One row more than asked for tells whether there is a next page.
    return {"page_after": page.after, "page_limit": page.limit + 1, **parameters}


def _page(found: Sequence[Row], limit: int) -> Page[Row]:
    items = found[:limit]
    return Page(items, items[-1].id if len(found) > limit else None)
