"""What `migrations/env.py` does, for `python -m app migrate` and for the `alembic` command."""

import asyncio
import logging
import random
import warnings
from collections.abc import Collection, Mapping
from traceback import walk_tb
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, event
from sqlalchemy.exc import SAWarning
from sqlalchemy.util import await_only

from app.kit.db.engine import create_engine, schema_lock
from app.kit.db.wait_log import WaitLog
from app.kit.migrations import dialect
from app.kit.migrations.autogenerate import autogenerate_options
from app.kit.migrations.upgrade import explain
from app.kit.settings import KitSettings

# Seconds between two attempts to get a lock, so that requests go on in between.
PAUSE = (1.0, 3.0)

logger = logging.getLogger("app.migrations")


def run(
    metadata: MetaData, settings_class: type[KitSettings], ignored: Collection[str] = ()
) -> None:
    """Run what Alembic was called for.

    Args:
        metadata: The tables of the service.
        settings_class: Its settings, which name the database.
        ignored: Patterns of the names of tables that autogenerate leaves alone. So it does with all
            that no model and no revision names.
    """
    connection = context.config.attributes.get("connection")
    options = {
        "target_metadata": metadata,
        **autogenerate_options(metadata, context.script, ignored),
    }
    # It is about indexes that a copy of a table keeps all the same.
    warnings.filterwarnings("ignore", "Skipped unsupported reflection of expression", SAWarning)
    try:
        if connection is not None:
            _run_on(connection, options)
        elif context.is_offline_mode():
            _print_sql(settings_class.load(), metadata)
        else:
            asyncio.run(_connect_and_run(settings_class.load(), options))
    except Exception as error:
        if connection is not None or (sentence := explain(error)) is None:
            raise
        raise CommandError(sentence) from None


async def _connect_and_run(settings: KitSettings, options: dict[str, Any]) -> None:
    engine = create_engine(settings, "migrate")
    try:
        async with schema_lock(engine) as connection:
            await connection.run_sync(_run_on, options)
            # Without a transaction of Alembic's: what a command did beside migrations.
            await connection.commit()
    finally:
        await engine.dispose()


def _run_on(connection: Connection, options: dict[str, Any]) -> None:
    """Run the revisions, each in a transaction of its own where the database has one for DDL.

    A revision that was rolled back because it did not get a lock in time is run again.
    """
    waiting = WaitLog("a lock that the next revision needs")
    progress = _Progress()
    event.listen(connection, "commit", progress.committed)
    while True:
        context.configure(
            connection=connection,
            on_version_apply=progress.applied,
            **dialect.OPTIONS,
            **options,
        )
        try:
            with context.begin_transaction():
                context.run_migrations()
            break
        except Exception as error:
            connection.rollback()
            if dialect.ROLLS_BACK and dialect.lacks_lock(error) and not progress.is_partial:
                waiting.log_if_due()
                await_only(asyncio.sleep(random.uniform(*PAUSE)))
                continue
            if (revision := _failing_revision(error)) is not None:
                stays = progress.is_partial or not dialect.ROLLS_BACK
                logger.error(
                    "revision %s failed %s",
                    revision,
                    "in its middle: what it had changed before stays, and the next run begins it "
                    "anew. Undo its changes by hand first"
                    if stays
                    else "and was rolled back",
                )
            raise
    event.remove(connection, "commit", progress.committed)


class _Progress:
    """Whether the revision that runs has committed something, in an autocommit block."""

    def __init__(self) -> None:
        self.is_partial = False
        self._is_applied = False

    def committed(self, connection: Connection) -> None:
        self.is_partial = not self._is_applied
        self._is_applied = False

    def applied(
        self,
        ctx: MigrationContext,
        step: MigrationInfo,
        heads: Collection[str],
        run_args: Mapping[str, object],
    ) -> None:
        """Check the result of a revision, and report that it was applied or undone."""
        assert ctx.connection is not None or ctx.as_sql
        if ctx.connection is not None:
            dialect.check(ctx.connection)
        self._is_applied = True
        for revision in step.up_revisions:
            if isinstance(revision, Script):
                what = "upgraded to" if step.is_upgrade else "downgraded from"
                logger.info("%s %s (%s)", what, revision.revision, revision.doc)


def _failing_revision(error: Exception) -> str | None:
    for frame, _ in walk_tb(error.__traceback__):
        if "down_revision" in frame.f_globals:
            return str(frame.f_globals["revision"])
    return None


def _print_sql(settings: KitSettings, metadata: MetaData) -> None:
    """Print the SQL instead of running it (`alembic upgrade head --sql`)."""
    context.configure(
        url=settings.database_url,
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        **dialect.OPTIONS,
    )
    # Printed SQL has nobody to return the values of a new row to.
    context.get_context().dialect.insert_returning = False
    with context.begin_transaction():
        context.run_migrations()
