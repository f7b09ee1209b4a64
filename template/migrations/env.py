"""Runs the migrations, for `python -m app migrate` and for the `alembic` command."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import DropTableOp, MigrateOperation, MigrationScript, ModifyTableOps
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from app.kit.db import base
from app.kit.db.engine import create_engine, schema_lock
from app.kit.db.migrate import explain
from app.models import METADATA
from app.settings import Settings

logger = logging.getLogger("app.migrations")


def render_item(kind: str, item: object, context: AutogenContext) -> str | Literal[False]:
    """Write our own column types into a revision as we do into a model."""
    if kind != "type" or type(item).__module__ != base.__name__:
        return False
    context.imports.add(f"from {base.__name__} import {type(item).__name__}")
    return repr(item)


def drop_tables_in_order(
    context: MigrationContext, revision: object, directives: list[MigrationScript]
) -> None:
    """Drop tables before those that they refer to, and with them their indexes, of which MySQL
    drops none by itself that a foreign key needs. Alembic minds neither."""
    names = [name for name, _ in inspect(context.connection).get_sorted_table_and_fkc_names()]
    for script in directives:
        if script.upgrade_ops is None or script.downgrade_ops is None:
            continue
        script.upgrade_ops.ops.sort(key=lambda op: _turn(op, names))
        script.upgrade_ops.reverse_into(script.downgrade_ops)
        for block in (script.upgrade_ops, script.downgrade_ops):
            dropped = {op.table_name for op in block.ops if isinstance(op, DropTableOp)}
            block.ops = [
                op
                for op in block.ops
                if not (isinstance(op, ModifyTableOps) and op.table_name in dropped)
            ]


def _turn(operation: MigrateOperation, names: list[str | None]) -> int:
    # All others first, in their order.
    return -names.index(operation.table_name) if isinstance(operation, DropTableOp) else -len(names)


def report(
    ctx: MigrationContext,
    step: MigrationInfo,
    heads: Collection[str],
    run_args: Mapping[str, object],
) -> None:
    """Tell that a revision was applied or undone."""
    for revision in step.up_revisions:
        if isinstance(revision, Script):
            what = "upgraded to" if step.is_upgrade else "downgraded from"
            logger.info("%s %s (%s)", what, revision.revision, revision.doc)


def run_on(connection: Connection) -> None:
    """Run the migrations on a connection."""
    sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_item=render_item,
        process_revision_directives=drop_tables_in_order,
        compare_server_default=True,
        # SQLite cannot alter a column: Alembic copies the table.
        render_as_batch=sqlite,
        # Alembic would commit after each revision there, which lets another process in between.
        transactional_ddl=True if sqlite else None,
        on_version_apply=report,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on_engine() -> None:
    """Run the migrations on an engine of the settings."""
    engine = create_engine(Settings.load(), "migrate")
    try:
        async with schema_lock(engine), engine.connect() as connection:
            await connection.run_sync(run_on)
            await connection.commit()
    finally:
        await engine.dispose()


def run_offline() -> None:
    """Print the SQL instead of running it (`alembic upgrade head --sql`)."""
    context.configure(
        url=Settings.load().database_url,
        target_metadata=METADATA,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    # Printed SQL has nobody to return the values of a new row to.
    context.get_context().dialect.insert_returning = False
    with context.begin_transaction():
        context.run_migrations()


if (connection := context.config.attributes.get("connection")) is not None:
    run_on(connection)
else:
    try:
        run_offline() if context.is_offline_mode() else asyncio.run(run_on_engine())
    except Exception as error:
        if (sentence := explain(error)) is None:
            raise
        raise CommandError(sentence) from None
