"""The base of all models, and the column types that behave the same on every database."""

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

# The names of the members as text. A type of the database's own, as PostgreSQL and MySQL have it,
# changes only by a statement of its own for each new member.
ENUM = sqlalchemy.Enum(Enum, native_enum=False, length=50)


class Base(DeclarativeBase):
    """Its metadata names every constraint, so that a migration can alter or drop it later."""

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
    # What the database sets at an INSERT or UPDATE comes back with that statement, or by one more
    # on MySQL. Otherwise it would be loaded when it is read, which an async session cannot do. By
    # an event, because a model with `__mapper_args__` of its own does not inherit those of `Base`.
    if mapper.eager_defaults == "auto":
        mapper.eager_defaults = True


# SQLite generates ids only for a column that is declared INTEGER, which has 64 bits there, too.
BigInt = BigInteger().with_variant(Integer(), "sqlite")

# MySQL's BLOB ends at 64 KiB, this at 16 MiB.
Blob = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")


# SQLite would give the id of a deleted row to the next one, which a repeated DELETE would hit.
NEVER_REUSE_IDS = {"sqlite_autoincrement": True}


# Where the database has no type for a time with an offset. MySQL's rounds to seconds, unless told.
NAIVE_DATETIMES = {"mysql": mysql.DATETIME(fsp=6), "sqlite": DateTime()}

# Where the driver gives a time in UTC and an amount with two decimals anyway. A call for each value
# that says so once more is a tenth of the cost of a page.
EXACT_RESULTS = {"postgresql"}

ResultProcessor = Callable[[Any], Any]


def utc_now() -> datetime:
    """The time of this process, in UTC."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: takes datetimes with an offset, gives them in UTC.

    Raises:
        ValueError: A datetime without an offset is not a point in time.
    """

    # Of a DateTime, Oracle would make a DATE: without offset, in whole seconds.
    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def __repr__(self) -> str:
        return "UTCDateTime()"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """With an offset, where the database has a type for that."""
        return dialect.type_descriptor(NAIVE_DATETIMES.get(dialect.name, self.impl_instance))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC, without the offset where the column has none."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without an offset is not a point in time; add tzinfo")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name in NAIVE_DATETIMES else value

    def result_processor(self, dialect: Dialect, coltype: object) -> ResultProcessor | None:
        """Nothing to do for every value that is read, where the driver gives UTC."""
        if dialect.name in EXACT_RESULTS:
            return self.impl_instance.result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give what was stored, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Timestamps:
    """A mixin for models: when a row was created, and when it was last changed through the model.

    An UPDATE that bypasses it, by plain SQL, has to set `updated_at` itself.
    """

    # In the table after the columns of the model.
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, insert_default=utc_now, sort_order=1)
    updated_at: Mapped[datetime] = mapped_column(
        UTCDateTime, insert_default=utc_now, onupdate=utc_now, sort_order=1
    )


class Money(TypeDecorator[Decimal]):
    """An exact amount with two decimals, at most 9,999,999,999.99 for `Money(12)`.

    SQLite has no decimals and would store a float, so that sums drift; there it is a whole number
    of cents.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self, digits: int) -> None:
        super().__init__(precision=digits, scale=2)
        self.digits = digits

    def __repr__(self) -> str:
        return f"Money({self.digits})"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """NUMERIC, or a whole number on SQLite."""
        stored = BigInteger() if dialect.name == "sqlite" else self.impl_instance
        return dialect.type_descriptor(stored)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | int | None:
        """Store the amount, in cents on SQLite."""
        if value is None or dialect.name != "sqlite":
            return value
        return int(value.scaleb(2))

    def result_processor(self, dialect: Dialect, coltype: object) -> ResultProcessor | None:
        """Nothing to do for every value that is read, where the driver gives two decimals."""
        if dialect.name in EXACT_RESULTS:
            return self.impl_instance.result_processor(dialect, coltype)
        return super().result_processor(dialect, coltype)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """Give the amount with two decimals."""
        if value is None:
            return None
        amount = Decimal(value)
        return amount.scaleb(-2) if dialect.name == "sqlite" else amount
