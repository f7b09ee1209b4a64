"""The order of a list, and cursors: positions in it, which clients send to get the next page."""

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

# What a database compares exactly as it was read. A float is rounded on its way here and back, so
# that its row would be shown twice or never.
EXACT = (bool, int, str, bytes, Decimal, UUID, datetime, date, time, timedelta, Enum)


class InvalidCursorError(ValueError):
    """A cursor that no page of this list returned as its `next`."""

    def __init__(self) -> None:
        super().__init__("This is not a cursor of this list; take `next` of a page of it.")


@dataclass(frozen=True)
class OrderColumn:
    """A column of an ORDER BY."""

    column: Column[Any]
    descending: bool = False

    def __str__(self) -> str:
        # Of an alias, the name may be another one in each process.
        (column,) = self.column.base_columns
        return f"{column} {'DESC' if self.descending else 'ASC'}"


class Keyset:
    """The order of a list by columns that, together, are different in each row."""

    def __init__(self, columns: tuple[OrderColumn, ...]) -> None:
        self.columns = columns
        self.order_by = [c.column.desc() if c.descending else c.column for c in columns]
        self.parameters = [
            bindparam(f"page_after_{n}", type_=c.column.type) for n, c in enumerate(columns)
        ]
        self.rows_after = _rows_after(columns, self.parameters)
        """The condition that a row comes after the position in the parameters."""
        types: Any = tuple(_type_of_values(c.column) for c in columns)
        self._values: TypeAdapter[tuple[Any, ...]] = TypeAdapter(
            tuple[types], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        )
        # With it, the checksum is of this order alone.
        self._order = zlib.crc32(", ".join(map(str, columns)).encode())

    def encode(self, values: tuple[Any, ...]) -> str:
        """The cursor of the row with these values of the columns.

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
        """The position of a cursor, as values of the parameters.

        Raises:
            InvalidCursorError: `encode` did not make it for this order.
        """
        try:
            packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            values = self._values.validate_json(packed[4:])
            # It covers the checksum, and that the same position has one cursor only.
            genuine = self.encode(values) == cursor
        except ValueError:
            genuine = False
        if not genuine:
            raise InvalidCursorError
        return {bind.key: value for bind, value in zip(self.parameters, values, strict=True)}

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))


@lru_cache(maxsize=256)
def keyset(columns: tuple[OrderColumn, ...]) -> Keyset:
    """The order by these columns.

    Raises:
        ValueError: Pages by one of them would lose rows.
    """
    return Keyset(columns)


def _type_of_values(column: Column[Any]) -> Any:
    """What Pydantic checks values of a column by."""
    if column.nullable:
        raise ValueError(f"{column} may be NULL; pages in its order would lose rows")
    # MySQL orders its own enums by position, and compares them as text.
    if getattr(column.type, "native_enum", False):
        raise ValueError(f"{column} is an enum of the database; give it Enum(…, native_enum=False)")
    # Of a decorated type, such as Money, what it decorates says what its values are.
    stored: Any = getattr(column.type, "impl_instance", column.type)
    try:
        python_type = stored.python_type
    except NotImplementedError:
        python_type = object
    if not issubclass(python_type, EXACT):
        raise ValueError(f"{column} is of type {column.type!r}; pages in its order would lose rows")
    # Beyond these, nothing comes from a column, and drivers fail in ways of their own.
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
    """`a >= x AND (a > x OR a = x AND …)`: the first part gives an index a place to begin."""
    (first, *others), (value, *values) = columns, parameters
    column = first.column
    beyond = column < value if first.descending else column > value
    if not others:
        return beyond
    from_here = column <= value if first.descending else column >= value
    rest = _lexicographic(tuple(others), values)
    return and_(from_here, or_(beyond, and_(column == value, rest)))


class _RowsAbove(FunctionElement[bool]):
    """`(a, b) > (x, y)`: in an index on both columns, PostgreSQL and SQLite begin exactly there,
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


# MySQL and MariaDB would read the whole index for it, and Oracle has no such comparison.
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
