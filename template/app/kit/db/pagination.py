"""Keyset pagination: each page starts after the last row of the previous one, so that page 1,000
costs as much as page 1, and concurrent inserts and deletes shift no rows.

A list is one SELECT, with any WHERE and ORDER BY:

    statement = select(Note).where(Note.done == done).order_by(Note.created_at.desc())
    return await paginate(session, statement, page)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Generic, TypeVar, TypeVarTuple, overload
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy import Column, FromClause, Integer, Join, Select, bindparam, inspect
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.elements import ColumnElement, Label, UnaryExpression

from app.kit.db.keyset import MAX_CURSOR, InvalidCursorError, Keyset, OrderColumn, keyset
from app.kit.db.sessions import AsyncReadSession

T = TypeVar("T")
T2 = TypeVar("T2")
Ts = TypeVarTuple("Ts")
KeyColumn = InstrumentedAttribute[Any] | Column[Any]

LIMIT = bindparam("page_limit", type_=Integer())
DIRECTIONS = {operators.asc_op: False, operators.desc_op: True}


class PageQuery(BaseModel):
    """The query parameters of a list: `page: Annotated[PageQuery, Query()]`."""

    model_config = ConfigDict(frozen=True)

    limit: Annotated[int, Field(ge=1, le=1000, description="Maximum number of items.")] = 50
    after: Annotated[
        str | None,
        Field(
            max_length=MAX_CURSOR,
            pattern="^[A-Za-z0-9_-]+$",
            description="`next` of the previous page.",
        ),
    ] = None


class Page(BaseModel, Generic[T]):
    """A page of a list: a service returns `Page[Note]`, and `response_model=Page[NoteRead]` is
    named NotePage in the OpenAPI document."""

    model_config = ConfigDict(arbitrary_types_allowed=True, from_attributes=True)

    items: list[T]
    next: Annotated[str | None, Field(description="`after` of the next page; null on the last.")]

    @classmethod
    def __class_getitem__(cls, item: Any) -> Any:
        """Name the class `NotePage` in the OpenAPI document, instead of `Page_NoteRead_`."""
        generic = super().__class_getitem__(item)
        name = f"{getattr(item, '__name__', '')}".removesuffix("Read") + "Page"
        return generic if isinstance(item, TypeVar) else _named(generic, name)


@cache
def _named(model: type[BaseModel], name: str) -> type[BaseModel]:
    return create_model(name, __base__=model, __doc__="A page of a list.", __module__=__name__)


@overload
async def paginate(
    session: AsyncReadSession,
    statement: Select[T],
    page: PageQuery,
    params: Mapping[str, Any] | None = None,
    *,
    key: KeyColumn | Sequence[KeyColumn] = (),
) -> Page[T]: ...


@overload
async def paginate(
    session: AsyncReadSession,
    statement: Select[T, T2, *Ts],
    page: PageQuery,
    params: Mapping[str, Any] | None = None,
    *,
    key: KeyColumn | Sequence[KeyColumn] = (),
) -> Page[dict[str, Any]]: ...


async def paginate(
    session: AsyncReadSession,
    statement: Select[*tuple[Any, ...]],
    page: PageQuery,
    params: Mapping[str, Any] | None = None,
    *,
    key: KeyColumn | Sequence[KeyColumn] = (),
) -> Page[Any]:
    """One page of the rows of a statement: entities, values of a single column, or, if it selects
    several columns or a table, a dict for each row.

    The order is the statement's ORDER BY, then the primary key, in the direction of the last
    column. Every page costs the same if an index has these columns in this order.

    Define the statement at module level, with `bindparam`s: it is then prepared only once.

    Args:
        session: The session that runs it.
        statement: The SELECT, without LIMIT.
        page: The query parameters of the page.
        params: The values of the `bindparam`s.
        key: Columns that are unique together, to be used instead of the primary key, because an
            index on them exists or the statement selects from several tables.

    Raises:
        InvalidCursorError: `page.after` is not a cursor of a list in this order.
        ValueError: Pagination in this order would skip rows, because a column may be NULL or does
            not compare exactly.
    """
    pages = _pages(statement, tuple(key) if isinstance(key, Sequence) else (key,))
    run: Any = session.scalars if pages.are_entities else session.execute
    # One additional row shows whether there is a next page.
    values = {**(params or {}), LIMIT.key: page.limit + 1}
    if page.after is None:
        found = await run(pages.first, values)
    else:
        values |= pages.keyset.decode(page.after)
        try:
            found = await run(pages.following, values)
        except StatementError as error:
            if isinstance(error, DBAPIError):
                raise
            # A column type rejected a value: the cursor is forged.
            raise InvalidCursorError from error
    rows: list[Any] = list(found)
    cursor = None
    if len(rows) > page.limit:
        del rows[page.limit :]
        cursor = pages.keyset.encode(pages.key_of(rows[-1]))
    if pages.are_entities:
        return Page(items=rows, next=cursor)
    if pages.names is None:
        return Page(items=[row[0] for row in rows], next=cursor)
    # Not `found.mappings()`, which is ten times as slow. Columns added for the key are dropped.
    return Page(items=[dict(zip(pages.names, row, strict=False)) for row in rows], next=cursor)


@dataclass(frozen=True)
class _Pages:
    """A prepared statement and its order."""

    keyset: Keyset
    first: Select[*tuple[Any, ...]]
    following: Select[*tuple[Any, ...]]
    are_entities: bool
    key_of: Callable[[Any], tuple[Any, ...]]
    """The values of the keyset's columns in a row."""
    names: tuple[str, ...] | None
    """The names of the selected columns; None if rows are entities or single values."""


_prepared: WeakKeyDictionary[Select[*tuple[Any, ...]], dict[tuple[KeyColumn, ...], _Pages]]
_prepared = WeakKeyDictionary()


def _pages(statement: Select[*tuple[Any, ...]], key: tuple[KeyColumn, ...]) -> _Pages:
    prepared = _prepared.setdefault(statement, {})
    if key not in prepared:
        prepared[key] = _prepare(statement, key)
    return prepared[key]


def _prepare(statement: Select[*tuple[Any, ...]], key: tuple[KeyColumn, ...]) -> _Pages:
    selected = statement.column_descriptions
    columns = [_order_column(clause) for clause in statement._order_by_clauses]
    descending = bool(columns) and columns[-1].descending
    ordered = {order.column for order in columns}
    own = [_order_column(column.expression) for column in key or _primary_key(selected)]
    columns += [OrderColumn(c.column, descending) for c in own if c.column not in ordered]
    order = keyset(tuple(columns))
    _refuse_outer_joins(statement, order, set() if key else {c.column.table for c in own})

    expressions = [_expression(item) for item in selected]
    is_entity = len(selected) == 1 and expressions[0] is None
    attributes = _attributes(selected[0]["entity"]) if is_entity else {}
    are_entities = all(c.column in attributes for c in columns)
    if are_entities:
        key_of = _getter(attrgetter, [attributes[c.column] for c in columns])
    else:
        # Key columns that are not selected are added to each row.
        at = {column: position for position, column in enumerate(expressions)}
        added = [c.column for c in columns if c.column not in at]
        at |= {column: len(selected) + n for n, column in enumerate(added)}
        key_of = _getter(itemgetter, [at[c.column] for c in columns])
        statement = statement.add_columns(*(c.label(f"page_key_{n}") for n, c in enumerate(added)))
    first = statement.order_by(None).order_by(*order.order_by).limit(LIMIT)
    following = first.where(order.rows_after)
    names = None if len(selected) == 1 else tuple(item["name"] for item in selected)
    return _Pages(order, first, following, are_entities, key_of, names)


def _order_column(clause: ColumnElement[Any]) -> OrderColumn:
    descending = False
    if isinstance(clause, UnaryExpression) and clause.modifier in DIRECTIONS:
        clause, descending = clause.element, DIRECTIONS[clause.modifier]
    if not isinstance(clause, Column):
        raise ValueError(f"ORDER BY must name columns, ascending or descending, not {clause}")
    return OrderColumn(clause, descending)


def _getter(kind: Any, names: list[Any]) -> Callable[[Any], tuple[Any, ...]]:
    get = kind(*names)
    return get if len(names) > 1 else lambda row: (get(row),)


def _expression(item: Any) -> ColumnElement[Any] | None:
    """The expression of a selected item; None for an entity."""
    if item["expr"] is item.get("entity"):
        return None
    expression = item["expr"].expression
    return expression.element if isinstance(expression, Label) else expression


@lru_cache(maxsize=256)
def _attributes(entity: Any) -> dict[ColumnElement[Any], str]:
    """The attribute names of an entity by column."""
    names = [attribute.key for attribute in inspect(entity).mapper.column_attrs]
    return {getattr(entity, name).expression: name for name in names}


def _primary_key(selected: Sequence[Any]) -> list[Any]:
    """The primary key of the one entity or table from which a statement selects."""
    sources = {
        item.get("entity") or getattr(_expression(item), "table", None): None for item in selected
    }
    sources.pop(None, None)
    if len(sources) != 1:
        raise ValueError("paginate() needs `key`: columns that are unique together")
    (source,) = sources
    if isinstance(source, FromClause):
        return list(source.primary_key)
    mapper = inspect(source).mapper
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return [getattr(source, name) for name in names]


def _refuse_outer_joins(statement: Select[*tuple[Any, ...]], order: Keyset, own: set[Any]) -> None:
    """Refuse to order by columns of other tables in an outer join: they may be NULL."""
    others = [c.column for c in order.columns if c.column.table not in own]
    if not others:
        return
    joins = [flags["isouter"] or flags["full"] for *_, flags in statement._setup_joins]
    parts = visitors.iterate(statement)
    joins += [part.isouter or part.full for part in parts if isinstance(part, Join)]
    if any(joins):
        raise ValueError(f"an outer join may make {others[0]} NULL; pages would lose rows")
