"""What migrations must know about PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic import op
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import ARRAY, Connection, Enum, MetaData, inspect, text
from sqlalchemy.dialects.postgresql import ENUM

from app.kit.db.errors import exception_chain
from app.kit.migrations.types import TypeChanges

# How Alembic runs revisions: see `context.configure`.
OPTIONS: dict[str, Any] = {"transaction_per_migration": True}

# Of `op.create_index`.
INDEX_OPTIONS: dict[str, Any] = {"postgresql_concurrently": True, "if_not_exists": True}

# Whether a revision that fails leaves nothing behind.
ROLLS_BACK = True

LOCK_NOT_AVAILABLE = "55P03"
DEADLOCK_DETECTED = "40P01"


def lacks_lock(error: Exception) -> bool:
    """Whether a revision failed because others hold what it must lock."""
    states = {getattr(cause, "sqlstate", None) for cause in exception_chain(error)}
    return not states.isdisjoint((LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED))


def check(connection: Connection) -> None:
    """Check what a revision leaves: PostgreSQL does so itself."""


def drop_scratch_table(connection: Connection, name: str) -> None:
    """Drop a temporary table: a rollback does."""


@contextmanager
def index_build(name: str, schema: str | None) -> Iterator[None]:
    """What surrounds the making of an index: no transaction, and no index of a failed attempt.

    CREATE INDEX CONCURRENTLY waits for transactions that are older, but nobody waits for it.
    """
    context = op.get_context()
    with context.autocommit_block():
        op.execute("SET lock_timeout = 0")
        preparer = context.dialect.identifier_preparer
        full_name = (f"{preparer.quote(schema)}." if schema else "") + preparer.quote(name)
        query = text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
        if not context.as_sql and op.get_bind().scalar(query, {"name": full_name}):
            op.execute(f"DROP INDEX CONCURRENTLY {full_name}")
        try:
            yield
        finally:
            op.execute("RESET lock_timeout")


def type_changes(
    connection: Connection, metadata: MetaData, is_ours: Callable[[str], bool]
) -> TypeChanges:
    """Compare the enum types of the models with those of the database.

    A member that no model has any more stays: PostgreSQL cannot remove one, and rows may have it.
    """
    inspector: Any = inspect(connection)
    preparer: Any = connection.dialect.identifier_preparer
    default = connection.dialect.default_schema_name
    declared: dict[tuple[str | None, str], list[str]] = {}
    for table in metadata.tables.values():
        for column in table.columns:
            kind: Any = column.type.dialect_impl(connection.dialect)
            kind = kind.item_type if isinstance(kind, ARRAY) else kind
            if isinstance(kind, Enum) and kind.native_enum and kind.name:
                declared[kind.schema or default, kind.name] = list(kind.enums)
    schemas = {schema for schema, _ in declared} | {default}
    found = {
        (each["schema"], each["name"]): each["labels"]
        for schema in schemas
        for each in inspector.get_enums(schema)
    }

    def create(key: tuple[str | None, str], labels: list[str]) -> tuple[str, str]:
        members = ", ".join(map(literal, labels))
        return f"CREATE TYPE {name(key)} AS ENUM ({members})", f"DROP TYPE {name(key)}"

    def name(key: tuple[str | None, str]) -> str:
        schema = None if key[0] == default else key[0]
        return str(preparer.format_type(ENUM(name=key[1], schema=schema)))

    def literal(label: str) -> str:
        return "'" + label.replace("'", "''") + "'"

    changes = TypeChanges(
        created=[create(key, declared[key]) for key in declared if key not in found],
        dropped=[
            create(key, found[key]) for key in found if key not in declared and is_ours(key[1])
        ],
    )
    for key in declared.keys() & found.keys():
        labels = declared[key]
        for number, label in enumerate(labels):
            if label not in found[key]:
                after = next((other for other in labels[number:] if other in found[key]), None)
                place = "" if after is None else f" BEFORE {literal(after)}"
                changes.extended.append(
                    f"ALTER TYPE {name(key)} ADD VALUE IF NOT EXISTS {literal(label)}{place}"
                )
    return changes


def render_type(item: object, context: AutogenContext) -> str | None:
    """How a revision writes an enum: by its name, since statements of their own create it."""
    if not isinstance(item, Enum) or not item.native_enum:
        return None
    context.imports.add("from sqlalchemy.dialects import postgresql")
    members = ", ".join(map(repr, item.enums))
    schema = f", schema={item.schema!r}" if item.schema else ""
    return f"postgresql.ENUM({members}, name={str(item.name)!r}{schema}, create_type=False)"
