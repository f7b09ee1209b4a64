"""Migrations on SQLite: a copy of a table is like the table, and no row loses what it refers to."""

import pytest
from alembic.util import CommandError

from tests.kit.migration_project import Project, project

__all__ = ["project"]

TABLES = (
    "CREATE TABLE parents (id INTEGER NOT NULL, CONSTRAINT pk_parents PRIMARY KEY (id))",
    "CREATE TABLE children (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, name TEXT, n INTEGER,"
    " parent_id INTEGER, CONSTRAINT fk_p FOREIGN KEY (parent_id) REFERENCES parents (id))",
    "INSERT INTO parents VALUES (1), (2)",
    "INSERT INTO children (name, n, parent_id) VALUES ('a', 1, 1), ('b', 2, 2), ('c', 3, 2)",
    "DELETE FROM children WHERE name = 'c'",
)
COPY = """
with op.batch_alter_table("children") as batch:
    batch.alter_column("name", existing_type=sa.Text(), type_=sa.String(50))
"""


async def test_orphans_end_a_migration(project: Project) -> None:
    await project.execute(*TABLES)

    with pytest.raises(CommandError, match=r"1 rows refer to rows that do not exist.*of children"):
        await project.upgrade('op.execute("DELETE FROM parents WHERE id = 1")')

    assert await project.execute("SELECT count(*) FROM parents") == [(2,)]


async def test_copy_keeps_ids_indexes_and_triggers(project: Project) -> None:
    await project.execute(
        *TABLES,
        "CREATE INDEX ix_lower ON children (lower(name))",
        "CREATE INDEX ix_desc ON children (n DESC)",
        "CREATE UNIQUE INDEX ix_part ON children (name COLLATE NOCASE) WHERE n > 1",
        "CREATE INDEX ix_plain ON children (n, name)",
        "CREATE TRIGGER tr_n AFTER INSERT ON children BEGIN UPDATE children SET n = 9"
        " WHERE id = new.id; END",
        "CREATE TRIGGER tr_p AFTER DELETE ON parents BEGIN DELETE FROM children"
        " WHERE parent_id = old.id; END",
        "CREATE VIEW named AS SELECT name FROM children",
    )
    query = (
        "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'ix%' OR name LIKE 'tr%' ORDER BY 1"
    )
    before = await project.execute(query)

    await project.upgrade(COPY)

    assert await project.execute(query) == before
    assert await project.execute("SELECT * FROM named") == [("a",), ("b",)]
    [(identifier,)] = await project.execute("INSERT INTO children (name) VALUES ('d') RETURNING id")
    assert identifier == 4


async def test_index_follows_a_renamed_column_or_ends_the_migration(project: Project) -> None:
    rename = 'with op.batch_alter_table("children") as batch:\n    batch.alter_column("n", {})'
    rename = rename.format('new_column_name="m"')
    await project.execute(*TABLES, "CREATE INDEX ix_plain ON children (n)")
    await project.upgrade(rename)
    assert "(m)" in str(await project.execute("SELECT sql FROM sqlite_schema WHERE type = 'index'"))

    await project.execute("CREATE INDEX ix_desc ON children (m DESC)")
    with pytest.raises(CommandError, match="Columns of ix_desc change"):
        await project.upgrade(rename.replace('"n"', '"m"').replace('"m")', '"n")'))


async def test_what_a_copy_would_lose_ends_the_migration(project: Project) -> None:
    await project.execute(
        "CREATE TABLE children (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE)"
    )

    with pytest.raises(CommandError, match="copy of children would lose a COLLATE"):
        await project.upgrade(COPY)


async def test_broken_view_ends_a_migration(project: Project) -> None:
    await project.execute(*TABLES, "CREATE VIEW named AS SELECT name FROM children")

    with pytest.raises(CommandError, match="named"):
        await project.upgrade(
            'with op.batch_alter_table("children") as batch:\n    batch.drop_column("name")'
        )
