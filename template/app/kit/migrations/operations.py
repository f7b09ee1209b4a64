"""Operations of revisions that run while requests do. Each is the only one of its revision."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from alembic import op
from sqlalchemy import Column, Update, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from app.kit import answers
from app.kit.migrations import dialect

# Seconds between two lines about the progress.
REPORT_INTERVAL = 5

logger = logging.getLogger("app.migrations")


def create_index(
    name: str, table_name: str, columns: Sequence[Any], *, schema: str | None = None, **options: Any
) -> None:
    """Create an index without blocking writes, where the database can.

    An attempt that was interrupted is cleaned up and made again; an index that is there stays.
    Arguments are those of `op.create_index`.
    """
    with dialect.index_build(name, schema):
        op.create_index(
            name, table_name, columns, schema=schema, **dialect.INDEX_OPTIONS, **options
        )


def backfill(update: Update, key: Column[Any], *, batch: int = 1000, pause: float = 0.05) -> None:
    """Change many rows, a batch of them in each transaction, except on SQLite.

    Killed and run again, it goes on: what `update` has changed must no longer fit its WHERE.

    Args:
        update: The statement for all rows that are to be changed.
        key: A column with an index and without NULL, by which batches are cut: the primary key.
        batch: Rows of the table in a batch.
        pause: Seconds after each batch; at least as long as the batch took.
    """
    context = op.get_context()
    if context.as_sql:
        op.execute(update)
        return
    with nullcontext() if answers.SINGLE_WRITER else context.autocommit_block():
        connection = op.get_bind()
        last, changed, reported = None, 0, time.monotonic()
        while True:
            rest = select(key) if last is None else select(key).where(key > last)
            keys = rest.order_by(key).limit(batch).subquery()
            end = connection.scalar(select(func.max(keys.c[0])))
            if end is None:
                break
            part = (
                update.where(key <= end) if last is None else update.where(key > last, key <= end)
            )
            started = time.monotonic()
            try:
                changed += connection.execute(part).rowcount
            except DBAPIError as error:
                # Only this batch was undone.
                if not dialect.lacks_lock(error):
                    raise
            else:
                last = end
            now = time.monotonic()
            if now - reported > REPORT_INTERVAL:
                logger.info("%s: %d rows changed, up to %s %s", key.table, changed, key.name, last)
                reported = now
            await_only(asyncio.sleep(max(pause, now - started)))
    logger.info("%s: %d rows changed", key.table, changed)
