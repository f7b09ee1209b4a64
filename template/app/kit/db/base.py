"""The base of all models, and column types that behave the same on every database."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import sqlalchemy
from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    DateTime,
    Dialect,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    event,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, Mapper, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

# Stores the names of the members as text. A native enum type of PostgreSQL or MySQL needs a
# statement of its own for each new member.
ENUM = sqlalchemy.Enum(Enum, native_enum=False, length=50)


class Base(DeclarativeBase):
    """The base of all models. It names every constraint, so that migrations can alter it."""

    type_annotation_map = {Enum: ENUM, Literal: ENUM}  # noqa: RUF012  (typed by SQLAlchemy)

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


@event.listens_for(Base, "instrument_class", propagate=True)
def _load_generated_values(mapper: Mapper[Any], model: type) -> None:
    # Values that the database generates are fetched with the INSERT or UPDATE, on MySQL by one more
    # statement. Loading them at the first access is impossible in an async session. An event,
    # because a model with its own `__mapper_args__` does not inherit those of `Base`.
    if mapper.eager_defaults == "auto":
        mapper.eager_defaults = True


# SQLite generates ids only for a column declared INTEGER, which has 64 bits there.
BigInt = BigInteger().with_variant(Integer(), "sqlite")

# MySQL's BLOB is limited to 64 KiB, MEDIUMBLOB to 16 MiB.
Blob = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")


# SQLite would reuse the id of a deleted row, and a retried DELETE would delete the new row.
NEVER_REUSE_IDS = {"sqlite_autoincrement": True}


# For databases without a type for timestamps with an offset. MySQL's default precision is seconds.
NAIVE_DATETIMES = {"mysql": mysql.DATETIME(fsp=6), "sqlite": DateTime()}

# Drivers that return times in UTC and amounts with two decimals: converting each value again would
# take a tenth of the time of a page.
EXACT_RESULTS = {"postgresql"}

ResultProcessor = Callable[[Any], Any]


def serialize_json(value: Any) -> str:
    """The text of a JSON value. What cannot be encoded, like half of a surrogate pair, is refused
    when it is stored, not when it is read."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def utc_now() -> datetime:
    """The time of this process, in UTC."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: accepts datetimes with an offset and returns them in UTC.

    Raises:
        ValueError: A datetime without an offset is not a point in time.
    """

    # On Oracle, DateTime would become DATE, which has no offset and no fractions of seconds.
    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def __repr__(self) -> str:
        return "UTCDateTime()"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """A type with an offset, where the database has one."""
        return dialect.type_descriptor(NAIVE_DATETIMES.get(dialect.name, self.impl_instance))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC, without the offset where the column has none."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without an offset is not a point in time; add tzinfo")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name in NAIVE_DATETIMES else value

    def result_processor(self, dialect: Dialect, coltype: object) -> ResultProcessor | None:
        """No conversion where the driver returns UTC."""
        if dialect.name in EXACT_RESULTS:
            return self.impl_instance.result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Timestamps:
    """A mixin for models: when a row was created, and when it was last changed through the model.

    An UPDATE that bypasses it, by plain SQL, has to set `updated_at` itself.
    """

    # The columns come after those of the model.
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now, sort_order=1)
    updated_at: Mapped[datetime] = mapped_column(
        UTCDateTime, insert_default=utc_now, onupdate=utc_now, sort_order=1
    )


class Money(TypeDecorator[Decimal]):
    """An exact amount with two decimals, at most 9,999,999,999.99 for `Money(12)`.

    SQLite has no decimal type and would store a float, so that sums are inexact; there it stores
    cents as an integer.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int) -> None:
        super().__init__(precision=digits, scale=2)
        self.digits = digits

    def __repr__(self) -> str:
        return f"Money({self.digits})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC, or an integer on SQLite."""
        stored = BigInteger() if dialect.name == "sqlite" else self.impl_instance
        return dialect.type_descriptor(stored)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | int | None:
        """Convert to cents on SQLite."""
        if value is None or dialect.name != "sqlite":
            return value
        return int(value.scaleb(2))

    def result_processor(self, dialect: Dialect, coltype: object) -> ResultProcessor | None:
        """No conversion where the driver returns two decimals."""
        if dialect.name in EXACT_RESULTS:
            return self.impl_instance.result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """Convert to an amount with two decimals."""
        if value is None:
            return None
        amount = Decimal(value)
        return amount.scaleb(-2) if dialect.name == "sqlite" else amount
