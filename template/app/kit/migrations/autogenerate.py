"""How autogenerate compares the models with a database, where Alembic's own way falls short."""

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from fnmatch import fnmatch
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import (
    AlterColumnOp,
    CreateForeignKeyOp,
    CreateTableOp,
    DropIndexOp,
    DropTableOp,
    ExecuteSQLOp,
    MigrateOperation,
    MigrationScript,
    ModifyTableOps,
    UpgradeOps,
)
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.script import ScriptDirectory
from alembic.util import PriorityDispatchResult
from sqlalchemy import (
    Column,
    Connection,
    DefaultClause,
    ForeignKeyConstraint,
    MetaData,
    Table,
    inspect,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateSchema, CreateTable
from sqlalchemy.types import NullType

from app.kit.db import base
from app.kit.migrations import dialect

PLUGIN = "app.kit.migrations"
SCRATCH_TABLE = "compared_default"


def autogenerate_options(
    metadata: MetaData, script: ScriptDirectory, ignored: Collection[str]
) -> dict[str, Any]:
    """The options of `context.configure` for autogenerate and `alembic check`."""
    ours = _Ownership(metadata, script, ignored)

    def include_name(name: str | None, kind: str, parents: object) -> bool:
        if kind == "schema":
            return name is None or ours.has_schema(name)
        return kind != "table" or ours.has(str(name))

    return {
        "autogenerate_plugins": ["alembic.autogenerate.*", PLUGIN],
        "compare_server_default": True,
        "include_name": include_name,
        "include_schemas": ours.has_schema(),
        "process_revision_directives": partial(_complete, metadata, ours.has),
        "render_item": _render_item,
    }


class _Ownership:
    """What is the service's: models or revisions name it, and nobody told to ignore it. What
    another application has in the same database is not to be dropped."""

    def __init__(
        self, metadata: MetaData, script: ScriptDirectory, ignored: Collection[str]
    ) -> None:
        self._tables = {table.name for table in metadata.tables.values()}
        self._schemas = {table.schema for table in metadata.tables.values()} - {None}
        self._script = script
        self._ignored = ignored

    def has(self, name: str) -> bool:
        """Whether a table or type is the service's."""
        if any(fnmatch(name, pattern) for pattern in self._ignored):
            return False
        quoted = rf"""["']{re.escape(name)}["']"""
        return name in self._tables or re.search(quoted, self._texts) is not None

    def has_schema(self, name: str | None = None) -> bool:
        """Whether a schema is, or any."""
        if name is None:
            return bool(self._schemas) or "schema=" in self._texts
        keyword = rf"""schema=["']{re.escape(name)}["']"""
        return name in self._schemas or re.search(keyword, self._texts) is not None

    @cached_property
    def _texts(self) -> str:
        paths = [Path(revision.path) for revision in self._script.walk_revisions()]
        return "\n".join(path.read_text("utf-8") for path in paths)


def _render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    """Write defaults and our own column types into a revision as we do into a model."""
    if kind == "server_default" and isinstance(default := getattr(item, "arg", None), str):
        # Alembic would strip quotes that belong to the text.
        return repr(default)
    if kind == "type" and (rendered := dialect.render_type(item, context)) is not None:
        return rendered
    if kind != "type" or type(item).__module__ != base.__name__:
        return False
    context.imports.add(f"from {base.__name__} import {type(item).__name__}")
    return repr(item)


def _complete(
    metadata: MetaData,
    is_ours: Callable[[str], bool],
    context: MigrationContext,
    revision: object,
    directives: list[MigrationScript],
) -> None:
    """Add what Alembic leaves out of a revision, and put its operations into the right order."""
    connection = context.connection
    for script in directives:
        if script.upgrade_ops is None or script.downgrade_ops is None or connection is None:
            continue
        _order_drops(script.upgrade_ops, connection)
        _defer_foreign_keys(script.upgrade_ops)
        script.upgrade_ops.reverse_into(script.downgrade_ops)
        for block in (script.upgrade_ops, script.downgrade_ops):
            # Indexes go with their table; MySQL refuses to drop one that a foreign key needs.
            dropped = {_key(op) for op in block.ops if isinstance(op, DropTableOp)}
            for op in block.ops:
                if isinstance(op, ModifyTableOps) and _key(op) in dropped:
                    op.ops = [each for each in op.ops if not isinstance(each, DropIndexOp)]
        types = dialect.type_changes(connection, metadata, is_ours)
        script.upgrade_ops.ops = [
            *_statements(create for create, _ in types.created),
            *_statements(types.extended),
            *script.upgrade_ops.ops,
            *_statements(drop for _, drop in types.dropped),
        ]
        script.downgrade_ops.ops = [
            *_statements(create for create, _ in types.dropped),
            *script.downgrade_ops.ops,
            *_statements(drop for _, drop in types.created),
        ]
        _create_schemas(script.upgrade_ops, connection)


def _statements(statements: Iterable[str]) -> list[MigrateOperation]:
    return [ExecuteSQLOp(statement) for statement in statements]


def _order_drops(upgrade: UpgradeOps, connection: Connection) -> None:
    """Drop tables after all else, and before those that they refer to."""
    schemas = {op.schema for op in upgrade.ops if isinstance(op, DropTableOp)}
    names = inspect(connection).sort_tables_on_foreign_key_dependency(consider_schemas=schemas)
    turns = {name: -number for number, (name, _) in enumerate(names)}

    def turn(op: MigrateOperation) -> tuple[int, int]:
        return (1, turns.get(_key(op), 0)) if isinstance(op, DropTableOp) else (0, 0)

    upgrade.ops.sort(key=turn)


def _defer_foreign_keys(upgrade: UpgradeOps) -> None:
    """Create foreign keys of a cycle after the tables. Alembic leaves out those of `use_alter`."""
    later: list[MigrateOperation] = []
    pending = {_key(op) for op in upgrade.ops if isinstance(op, CreateTableOp)}
    for op in upgrade.ops:
        if not isinstance(op, CreateTableOp):
            continue
        pending.discard(_key(op))
        for key in [c for c in op.columns if isinstance(c, ForeignKeyConstraint)]:
            target = key.referred_table
            if key.use_alter or (target.schema, target.name) in pending:
                op.columns = [column for column in op.columns if column is not key]
                create = CreateForeignKeyOp.from_constraint(key)
                later.append(ModifyTableOps(op.table_name, [create], schema=op.schema))
    upgrade.ops += later


def _create_schemas(upgrade: UpgradeOps, connection: Connection) -> None:
    schemas = {op.schema for op in upgrade.ops if isinstance(op, CreateTableOp) and op.schema}
    for name in sorted(schemas - set(inspect(connection).get_schema_names()), reverse=True):
        statement = CreateSchema(name, if_not_exists=True).compile(dialect=connection.dialect)
        # The downgrade leaves it: others may have put something into it.
        upgrade.ops.insert(0, ExecuteSQLOp(str(statement)))


def _key(op: Any) -> tuple[str | None, str]:
    return op.schema, op.table_name


def _compare_default(
    context: AutogenContext,
    operation: AlterColumnOp,
    schema: str | None,
    table_name: str,
    column_name: str,
    found: Column[Any],
    wanted: Column[Any],
) -> PriorityDispatchResult:
    """Compare by what the database makes of a default: a scratch table is given it, and read back.

    Alembic compares texts, or has PostgreSQL evaluate `=` between two values, which JSON lacks.
    """
    defaults = (found.server_default, wanted.server_default)
    plain = all(each is None or isinstance(each, DefaultClause) for each in defaults)
    if not plain or defaults == (None, None) or wanted is wanted.table.autoincrement_column:
        return PriorityDispatchResult.CONTINUE
    operation.existing_server_default = found.server_default
    with suppress(SQLAlchemyError):
        if _default_as_stored(context, found, wanted) != _text(found.server_default):
            operation.modify_server_default = wanted.server_default
        return PriorityDispatchResult.STOP
    # The database takes no such table.
    return PriorityDispatchResult.CONTINUE


def _default_as_stored(
    context: AutogenContext, found: Column[Any], wanted: Column[Any]
) -> str | None:
    default: Any = wanted.server_default
    if default is None:
        return None
    kind = wanted.type if isinstance(found.type, NullType) else found.type
    column: Column[Any] = Column(
        found.name, kind, server_default=default.arg, nullable=bool(found.nullable)
    )
    table = Table(SCRATCH_TABLE, MetaData(), column, prefixes=["TEMPORARY"])
    connection = context.connection
    assert connection is not None
    with connection.begin_nested() as savepoint:
        connection.execute(CreateTable(table))
        inspector = inspect(connection)
        [stored] = inspector.get_columns(SCRATCH_TABLE)
        dialect.drop_scratch_table(connection, SCRATCH_TABLE)
        savepoint.rollback()
    # As it was done to the other one.
    impl: Any = context.migration_context.impl
    impl.autogen_column_reflect(inspector, table, stored)
    return stored["default"]


def _text(default: object) -> str | None:
    return None if default is None else str(getattr(default, "arg", default))


def setup(plugin: Plugin) -> None:
    """Register the comparison before Alembic's own."""
    plugin.add_autogenerate_comparator(_compare_default, "column", "server_default")


setup(Plugin(PLUGIN))
