"""New rows at half the cost: without SQLAlchemy's unit of work, which looks for all else that there
may be to write."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import CursorResult, Insert, Table, insert, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapper, make_transient_to_detached

Model = TypeVar("Model", bound=DeclarativeBase)


class _Plan(NamedTuple):
    insert: Insert
    attributes: dict[str, str]
    """The model's attribute of each column."""
    primary_key: list[str]


@cache
def _plan(model: type[DeclarativeBase]) -> _Plan:
    mapper: Mapper[Any] = inspect(model)
    table = mapper.local_table
    assert isinstance(table, Table), f"{model.__name__} is more than a table"
    attributes = {column.key: mapper.get_property_by_column(column).key for column in table.c}
    keys = [attributes[column.key] for column in table.primary_key]
    return _Plan(insert(table), attributes, keys)


async def insert_one(session: AsyncSession, model: type[Model], **values: Any) -> Model:
    """Insert a row and give its object, as `session.add` and `session.flush` do; the session tracks
    it. `values` are those of columns; columns without one get their defaults.

    What else an object can bring along stays with `session.add`: others that it refers to, events
    of the mapper, inheritance.

    Raises:
        TypeError: There is no such column.
        sqlalchemy.exc.IntegrityError: The row breaks a constraint.
    """
    plan = _plan(model)
    if unknown := values.keys() - plan.attributes.keys():
        raise TypeError(f"{model.__name__} has no column {', '.join(sorted(unknown))}")
    result = await session.execute(plan.insert, values)
    assert isinstance(result, CursorResult)
    # With the defaults; some drivers have parameters that are no columns.
    sent = result.last_inserted_params()
    assert isinstance(sent, Mapping)
    # What the database has given, and only it knows.
    given = {column.key for column in result.postfetch_cols() or ()}
    found = {name: sent.get(key) for key, name in plan.attributes.items() if key not in given}
    found |= zip(plan.primary_key, result.inserted_primary_key or (), strict=True)
    new = model(**found)
    make_transient_to_detached(new)
    session.add(new)
    if given:
        await session.refresh(new)
    return new
