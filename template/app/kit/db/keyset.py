"""Keysets, the order of a list, and cursors, which clients send to get the next page."""

import base64
import zlib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, TypeAdapter
from sqlalchemy import Boolean, Column, and_, bindparam, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.functions import FunctionElement

# Databases index at most 3,072 bytes, MySQL's limit; PostgreSQL's and SQLite's pages are similar.
MAX_CURSOR = 5000

# Types whose values compare the same after a round trip. A float may be rounded, so that its row
# would be returned twice or never.
EXACT = (bool, int, str, bytes, Decimal, UUID, datetime, date, time, timedelta, Enum)


class InvalidCursorError(ValueError):
    """A cursor that is not the `next` of a page of this list."""

    def __init__(self) -> None:
        super().__init__("This is not a cursor of this list; use `next` of one of its pages.")


@dataclass(frozen=True)
class OrderColumn:
    """A column of an ORDER BY."""

    column: Column[Any]
    descending: bool = False

    def __str__(self) -> str:
        # The base column, because an alias may have a different name in each process.
        (column,) = self.column.base_columns
        return f"{column} {'DESC' if self.descending else 'ASC'}"


class Keyset:
    """The order of a list by columns that are unique together."""

    def __init__(self, columns: tuple[OrderColumn, ...]) -> None:
        self.columns = columns
        self.order_by = [c.column.desc() if c.descending else c.column for c in columns]
        self.parameters = [
            bindparam(f"page_after_{n}", type_=c.column.type) for n, c in enumerate(columns)
        ]
        self.rows_after = _rows_after(columns, self.parameters)
        """The condition for rows after the position in the parameters."""
        types: Any = tuple(_type_of_values(c.column) for c in columns)
        self._values: TypeAdapter[tuple[Any, ...]] = TypeAdapter(
            tuple[types], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        )
        # Seeds the checksum, so that a cursor is valid for this order only.
        self._order = zlib.crc32(", ".join(map(str, columns)).encode())

    def encode(self, values: tuple[Any, ...]) -> str:
        """The cursor of a row with these values of the columns.

        Raises:
            ValueError: A value is NULL, has another type than its column or is too long.
        """
        text = self._values.dump_json(values, warnings="error")
        packed = zlib.crc32(text, self._order).to_bytes(4, "big") + text
        cursor = base64.urlsafe_b64encode(packed).rstrip(b"=").decode()
        if len(cursor) > MAX_CURSOR:
            raise ValueError(f"values of {self} are too long for a cursor; order by another column")
        return cursor

    def decode(self, cursor: str) -> dict[str, Any]:
        """The position of a cursor: the values of the parameters.

        Raises:
            InvalidCursorError: `encode` did not return it for this order.
        """
        try:
            packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            values = self._values.validate_json(packed[4:])
            # Verifies the checksum, and that the encoding is canonical.
            valid = self.encode(values) == cursor
        except ValueError:
            valid = False
        if not valid:
            raise InvalidCursorError
        return {bind.key: value for bind, value in zip(self.parameters, values, strict=True)}

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))


@lru_cache(maxsize=256)
def keyset(columns: tuple[OrderColumn, ...]) -> Keyset:
    """The order by these columns.

    Raises:
        ValueError: Pagination by one of them would skip rows.
    """
    return Keyset(columns)


def _type_of_values(column: Column[Any]) -> Any:
    """The type by which Pydantic validates values of a column."""
    if column.nullable:
        raise ValueError(f"{column} may be NULL; pages in its order would lose rows")
    # MySQL orders native enums by position, but compares them as text.
    if getattr(column.type, "native_enum", False):
        raise ValueError(f"{column} is a native enum; declare it as Enum(…, native_enum=False)")
    # A TypeDecorator, such as Money, has the Python type of the type that it decorates.
    stored: Any = getattr(column.type, "impl_instance", column.type)
    try:
        python_type = stored.python_type
    except NotImplementedError:
        python_type = object
    if not issubclass(python_type, EXACT):
        raise ValueError(f"{column} is of type {column.type!r}; pages in its order would lose rows")
    # No column has values beyond these, and each driver would fail with a different error.
    if python_type is int:
        return Annotated[int, Field(ge=-(2**63), lt=2**63)]
    if python_type is Decimal:
        return Annotated[Decimal, Field(max_digits=stored.precision or 1000)]
    return python_type


def _rows_after(
    columns: tuple[OrderColumn, ...], parameters: list[BindParameter[Any]]
) -> ColumnElement[bool]:
    if len(columns) > 1 and len({c.descending for c in columns}) == 1:
        compared = _RowsBelow if columns[0].descending else _RowsAbove
        return compared(*(c.column for c in columns), *parameters)
    return _lexicographic(columns, parameters)


def _lexicographic(
    columns: tuple[OrderColumn, ...], parameters: list[BindParameter[Any]]
) -> ColumnElement[bool]:
    """`a >= x AND (a > x OR a = x AND …)`: the first part bounds the index range."""
    (first, *others), (value, *values) = columns, parameters
    column = first.column
    beyond = column < value if first.descending else column > value
    if not others:
        return beyond
    from_here = column <= value if first.descending else column >= value
    rest = _lexicographic(tuple(others), values)
    return and_(from_here, or_(beyond, and_(column == value, rest)))


class _RowsAbove(FunctionElement[bool]):
    """`(a, b) > (x, y)`: with an index on both columns, PostgreSQL and SQLite start exactly there,
    however many rows have the same `a`."""

    name = "rows_above"
    type = Boolean()
    inherit_cache = True
    sign = ">"
    descending = False


class _RowsBelow(_RowsAbove):
    """`(a, b) < (x, y)`."""

    name = "rows_below"
    inherit_cache = True
    sign = "<"
    descending = True


@compiles(_RowsAbove)
@compiles(_RowsBelow)
def _compare_rows(element: _RowsAbove, compiler: SQLCompiler, **options: Any) -> str:
    texts = [compiler.process(clause, **options) for clause in element.clauses]
    half = len(texts) // 2
    return f"({', '.join(texts[:half])}) {element.sign} ({', '.join(texts[half:])})"


# MySQL and MariaDB would scan the whole index, and Oracle has no row comparison.
@compiles(_RowsAbove, "mysql")
@compiles(_RowsAbove, "mariadb")
@compiles(_RowsAbove, "oracle")
@compiles(_RowsBelow, "mysql")
@compiles(_RowsBelow, "mariadb")
@compiles(_RowsBelow, "oracle")
def _compare_columns(element: _RowsAbove, compiler: SQLCompiler, **options: Any) -> str:
    clauses: list[Any] = list(element.clauses)
    half = len(clauses) // 2
    columns = tuple(OrderColumn(column, element.descending) for column in clauses[:half])
    condition = _lexicographic(columns, clauses[half:])
    return f"({compiler.process(condition, **options)})"
