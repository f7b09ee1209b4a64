"""What migrations must know about Oracle."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection, MetaData

from app.kit.migrations.types import TypeChanges

# How Alembic runs revisions: see `context.configure`.
OPTIONS: dict[str, Any] = {}

# Of `op.create_index`.
INDEX_OPTIONS: dict[str, Any] = {}

# Whether a revision that fails leaves nothing behind. Oracle commits each change of the schema.
ROLLS_BACK = False


def lacks_lock(error: Exception) -> bool:
    """Whether a statement failed because others hold what it must lock. Oracle waits itself."""
    return False


def check(connection: Connection) -> None:
    """Check what a revision leaves: Oracle does so itself."""


@contextmanager
def index_build(name: str, schema: str | None) -> Iterator[None]:
    """What surrounds the making of an index: nothing."""
    yield


def type_changes(
    connection: Connection, metadata: MetaData, is_ours: Callable[[str], bool]
) -> TypeChanges:
    """What autogenerate must do about enum types: nothing, an enum is text here."""
    return TypeChanges()


def render_type(item: object, context: AutogenContext) -> str | None:
    """How a revision writes a type: as Alembic does."""
    return None


def drop_scratch_table(connection: Connection, name: str) -> None:
    """Drop a temporary table: Oracle has none that autogenerate could use."""
