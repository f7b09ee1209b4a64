"""What migrations must know about MySQL and MariaDB."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.ddl.mysql import MySQLImpl
from pymysql.err import MySQLError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import OperationalError
from sqlalchemy.util import await_only

from app.kit.db.errors import exception_chain
from app.kit.db.wait_log import WaitLog
from app.kit.migrations.types import TypeChanges

# How Alembic runs revisions: see `context.configure`.
OPTIONS: dict[str, Any] = {"transaction_per_migration": True}

# Of `op.create_index`.
INDEX_OPTIONS: dict[str, Any] = {}

# Whether a revision that fails leaves nothing behind. MySQL commits each change of the schema.
ROLLS_BACK = False

LOCK_WAIT_TIMEOUT = 1205
DEADLOCK = 1213


class PatientMySQLImpl(MySQLImpl):
    """Runs a statement again that did not get its lock: it has done nothing, but what was done
    before it cannot be undone. In between, requests that queued behind it go on."""

    __dialect__ = "mysql"

    def _exec(self, *arguments: Any, **options: Any) -> Any:
        waiting = WaitLog("a lock that the next revision needs")
        while True:
            try:
                return super()._exec(*arguments, **options)
            except OperationalError as error:
                if error.orig is None or error.orig.args[0] != LOCK_WAIT_TIMEOUT:
                    raise
            waiting.log_if_due()
            await_only(asyncio.sleep(random.uniform(1, 3)))


def lacks_lock(error: Exception) -> bool:
    """Whether a statement failed because others hold what it must lock."""
    codes = {cause.args[0] for cause in exception_chain(error) if isinstance(cause, MySQLError)}
    return not codes.isdisjoint((LOCK_WAIT_TIMEOUT, DEADLOCK))


def check(connection: Connection) -> None:
    """Check what a revision leaves: the server does so itself."""


@contextmanager
def index_build(name: str, schema: str | None) -> Iterator[None]:
    """What surrounds the making of an index: nothing."""
    yield


def type_changes(
    connection: Connection, metadata: MetaData, is_ours: Callable[[str], bool]
) -> TypeChanges:
    """What autogenerate must do about enum types: nothing, an enum is part of its column here."""
    return TypeChanges()


def render_type(item: object, context: AutogenContext) -> str | None:
    """How a revision writes a type: as Alembic does."""
    return None


def drop_scratch_table(connection: Connection, name: str) -> None:
    """Drop a temporary table, which a rollback does not."""
    connection.exec_driver_sql(f"DROP TEMPORARY TABLE {name}")
