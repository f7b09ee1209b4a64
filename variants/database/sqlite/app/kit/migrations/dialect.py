"""What migrations must know about SQLite, which alters a table by making a copy."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.ddl.sqlite import SQLiteImpl
from alembic.operations.batch import ApplyBatchImpl
from alembic.util import CommandError
from sqlalchemy import Connection, Index, MetaData, Table
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateTable

from app.kit.db.errors import exception_chain
from app.kit.migrations.types import TypeChanges

# How Alembic runs revisions: see `context.configure`. They share a transaction, which holds the
# write lock: after each revision another process could come in between.
OPTIONS: dict[str, Any] = {"render_as_batch": True, "transactional_ddl": True}

# Of `op.create_index`.
INDEX_OPTIONS: dict[str, Any] = {"if_not_exists": True}

# Whether a revision that fails leaves nothing behind.
ROLLS_BACK = True

# What SQLAlchemy does not read back from a table, or not always.
EASILY_LOST = ("CHECK", "COLLATE", "DEFERRABLE", "GENERATED", "ON CONFLICT")


class CarefulSQLiteImpl(SQLiteImpl):
    """Carries over to the copy what Alembic would lose: AUTOINCREMENT with the last id, indexes as
    they were, triggers. Where it cannot, the migration fails."""

    __dialect__ = "sqlite"

    _definition = ""
    _last_id: int | None = None
    _indexes: dict[str, str]
    _unreadable: dict[str, str]
    _columns: dict[str, list[str]]

    def prep_table_for_batch(self, batch_impl: ApplyBatchImpl, table: Table) -> None:
        """Note what the table has, before the copy is made."""
        copy = batch_impl.new_table
        assert copy is not None
        self._definition = self._definitions("table", table.name)[table.name]
        self._check_nothing_is_lost(batch_impl, table)
        self._last_id = None
        if re.search(r"\bAUTOINCREMENT\b", self._definition, re.IGNORECASE):
            copy.dialect_options["sqlite"]["autoincrement"] = True
            query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
            self._last_id = self._run(query, table.name).scalar()
        self._columns = {str(i.name): [c.name for c in i.columns] for i in table.indexes}
        found = self._definitions("index", table.name)
        self._indexes = {name: sql for name, sql in found.items() if name in batch_impl.indexes}
        self._unreadable = {name: sql for name, sql in found.items() if name not in self._columns}
        self._unreadable |= self._definitions("trigger", table.name)

    def rename_table(self, old_table_name: str, new_table_name: Any, schema: Any = None) -> None:
        """Put the copy in the place of the table."""
        # Views and triggers that refer to the table would end it; `check` looks at them later.
        self._run("PRAGMA legacy_alter_table=ON")
        super().rename_table(old_table_name, new_table_name, schema)
        self._run("PRAGMA legacy_alter_table=OFF")
        if self._last_id is not None:
            self._run("DELETE FROM sqlite_sequence WHERE name = ?", new_table_name)
            self._run("INSERT INTO sqlite_sequence VALUES (?, ?)", new_table_name, self._last_id)
            self._last_id = None
        for name, sql in self._unreadable.items():
            try:
                self._run(sql)
            except OperationalError as error:
                raise CommandError(
                    f"{name} does not fit the new {new_table_name} ({error.orig}): drop it before "
                    "the change, and create it anew after it"
                ) from error
        self._unreadable = {}

    def create_index(self, index: Index, **options: Any) -> None:
        """Create an index; one that the table had, as it was: with DESC, COLLATE and WHERE."""
        sql = getattr(self, "_indexes", {}).pop(str(index.name), None)
        if sql is None:
            super().create_index(index, **options)
        elif [column.name for column in index.columns] == self._columns[str(index.name)]:
            self._run(sql)
        elif re.search(r"\b(DESC|COLLATE|WHERE)\b", sql, re.IGNORECASE):
            raise CommandError(
                f"Columns of {index.name} change, and its DESC, COLLATE or WHERE would be lost: "
                "drop it before the change, and create it anew after it"
            )
        else:
            super().create_index(index, **options)

    def _check_nothing_is_lost(self, batch: ApplyBatchImpl, table: Table) -> None:
        named = {constraint.name for constraint in table.constraints if constraint.name}
        if named - set(batch.named_constraints) or set(table.c.keys()) - set(batch.columns):
            return  # Something is dropped on purpose.
        assert batch.new_table is not None
        copied = str(CreateTable(batch.new_table).compile(dialect=self.dialect))
        for word in EASILY_LOST:
            if _count(word, self._definition) > _count(word, copied):
                raise CommandError(
                    f"The copy of {table.name} would lose a {word}. Give batch_alter_table() the "
                    "table as it is: copy_from=Table(...)"
                )

    def _definitions(self, kind: str, table: str) -> dict[str, str]:
        query = "SELECT name, sql FROM sqlite_schema WHERE type = ? AND tbl_name = ? AND sql > ''"
        return dict(self._run(query, kind, table).all())

    def _run(self, sql: str, *parameters: object) -> Any:
        assert self.connection is not None
        return self.connection.exec_driver_sql(sql, parameters)


def _count(word: str, definition: str) -> int:
    return len(re.findall(rf"\b{word}\b", definition, re.IGNORECASE))


def lacks_lock(error: Exception) -> bool:
    """Whether a revision failed because another process writes."""
    codes = {getattr(cause, "sqlite_errorcode", 0) for cause in exception_chain(error)}
    return sqlite3.SQLITE_BUSY in codes


def check(connection: Connection) -> None:
    """Check what a revision leaves: foreign keys are off meanwhile, and views and triggers may name
    what is gone.

    Raises:
        CommandError: Rows refer to rows that do not exist, or a view or trigger is broken.
    """
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if rows:
        table, rowid, parent, _ = rows[0]
        raise CommandError(
            f"{len(rows)} rows refer to rows that do not exist, for example row {rowid} of {table} "
            f"to {parent}. A revision runs without foreign keys, so no ON DELETE comes true: "
            "delete or change such rows first"
        )
    # A rename makes SQLite look at all views and triggers.
    connection.exec_driver_sql("CREATE TABLE schema_check (id INTEGER)")
    try:
        connection.exec_driver_sql("ALTER TABLE schema_check RENAME TO schema_checked")
    except OperationalError as error:
        raise CommandError(
            f"{error.orig}. Drop it before the change, and create it anew after it"
        ) from error
    connection.exec_driver_sql("DROP TABLE schema_checked")


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
    """Drop a temporary table: a rollback does."""
