"""Migrations: concurrent and repeated runs apply each revision once and log it."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from app.kit.command import main
from app.kit.db import Base
from app.kit.migrations import dialect
from app.kit.migrations import upgrade as migrate
from app.kit.settings import KitSettings
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.conventions import migrated_schema, migrations
from tests.kit.faults import unreachable_url
from tests.kit.migrating import on_connection, tables_of
from tests.kit.migration_project import Project, project
from tests.kit.processes import run
from tests.kit.server import DatabaseServer

__all__ = ["project"]


@pytest.fixture
def empty_url(server: DatabaseServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without a schema, for one test alone."""
    url = server.create_database(f"empty_{abs(hash(request.node.nodeid))}")
    yield url
    server.drop_database(url)


async def test_upgrade_of_a_current_schema_changes_nothing(own_url: str) -> None:
    tables = await tables_of(own_url)

    await migrate.upgrade(make_settings(own_url))

    assert await tables_of(own_url) == tables


async def test_concurrent_migrations_log_each_revision_once(empty_url: str, tmp_path: Path) -> None:
    arguments = (tmp_path, "-m", "app", "migrate")
    results = await asyncio.gather(*(run(*arguments, DATABASE_URL=empty_url) for _ in range(2)))

    assert [code for code, _ in results] == [0, 0], results
    printed = sorted((output.splitlines() for _, output in results), key=len)
    revisions = list(ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions())
    told = [f"upgraded to {each.revision} ({each.doc})" for each in reversed(revisions)]
    lines = [line for lines in printed for line in lines if not line.startswith("waiting")]
    assert sorted(lines) == sorted([*told, *2 * ["The schema is up to date."]])
    assert await tables_of(empty_url) >= {"idempotency_keys"}


async def test_altered_table_keeps_the_rows_that_refer_to_it(empty_url: str) -> None:
    def alter(connection: Connection) -> list[int]:
        context = MigrationContext.configure(connection)
        operations = Operations(context)
        operations.create_table(
            "parents", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text)
        )
        operations.create_table(
            "children",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("parent_id", sa.Integer, sa.ForeignKey("parents.id", ondelete="CASCADE")),
        )
        operations.execute("INSERT INTO parents VALUES (1, 'parent')")
        operations.execute("INSERT INTO children VALUES (2, 1)")
        with operations.batch_alter_table("parents") as batch:
            batch.alter_column("name", existing_type=sa.Text, type_=sa.String(50), nullable=False)
        return list(connection.execute(sa.text("SELECT parent_id FROM children")).scalars())

    assert await on_connection(empty_url, alter) == [1]


async def test_service_migrates_at_start_if_configured(empty_url: str) -> None:
    settings = make_settings(empty_url, database_migrate_at_start=True)
    async with running_app(settings) as app, client_of(app) as client:
        assert (await client.get("/health/ready")).status_code == 200


async def test_service_that_was_not_migrated_is_unready_until_it_is(empty_url: str) -> None:
    settings = make_settings(empty_url)
    async with running_app(settings) as app, client_of(app) as client:
        response = await client.get("/health/ready")
        assert response.status_code == 503
        checks = response.json()["checks"]
        assert (checks["primary"], checks["schema"]) == ("ok", "behind")

        await migrate.upgrade(settings)
        assert (await client.get("/health/ready")).status_code == 200


async def test_service_is_ready_while_the_schema_is_ahead_of_it(own_url: str) -> None:
    settings = make_settings(own_url)
    async with running_app(settings) as app, client_of(app) as client:
        await on_connection(own_url, set_revision("of a newer version"))
        response = await client.get("/health/ready")
        assert response.status_code == 200
        assert response.json()["checks"]["schema"] == "ahead"

        await on_connection(own_url, set_revision(None))
        response = await client.get("/health/ready")
        assert response.status_code == 503
        assert response.json()["checks"]["schema"] == "behind"


async def test_schema_that_is_ahead_is_left_as_it_is(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await on_connection(own_url, set_revision("of a newer version"))

    await migrate.upgrade(make_settings(own_url))

    assert "of a newer version belongs to a newer version: nothing to upgrade" in caplog.text


def set_revision(revision: str | None) -> Callable[[Connection], Any]:
    """What gives a database a revision."""

    def change(connection: Connection) -> None:
        versions = sa.table("alembic_version", sa.column("version_num", sa.String))
        connection.execute(sa.delete(versions))
        if revision is not None:
            connection.execute(sa.insert(versions).values(version_num=revision))

    return change


async def test_two_newest_revisions_are_a_sentence(
    own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptDirectory, "get_heads", lambda self: ["a", "b"])

    with pytest.raises(SystemExit) as end:
        await asyncio.to_thread(migrate.main, make_settings(own_url))

    assert end.value.code == (
        'There are 2 newest revisions, a and b. Join them: alembic merge heads -m "Merge"'
    )


async def test_alembic_runs_in_any_directory(tmp_path: Path) -> None:
    arguments = ("-m", "alembic", "-c", str(migrate.PYPROJECT), "heads")
    code, output = await run(tmp_path, *arguments, PYTHONPATH="")

    assert code == 0, output
    assert "(head)" in output


async def test_rows_are_filled_in_batches_and_after_a_stop_the_rest(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await project.execute(
        "CREATE TABLE things (id INTEGER PRIMARY KEY, old INTEGER, new INTEGER)",
        "INSERT INTO things (id, old) VALUES (-3, 1), (0, 2), (5, 3), (6, 4), (9, 5)",
    )
    revision = """
things = sa.table("things", sa.column("id"), sa.column("old"), sa.column("new"))
update = sa.update(things).where(things.c.new.is_(None)).values(new={value})
backfill(update, things.c.id, batch=2, pause=0)
"""
    await project.execute("UPDATE things SET new = 0 WHERE id = 0")

    await project.upgrade(revision.format(value="things.c.old * 10"))

    rows = await project.execute("SELECT new FROM things ORDER BY id")
    assert [tuple(row) for row in rows] == [(10,), (0,), (30,), (40,), (50,)]
    assert "things: 4 rows changed" in caplog.text


def test_sql_of_the_migrations_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    # Where a table is altered by making a copy, its revisions cannot be printed; the first one can.
    first = migrate.revisions().get_base() or "head"
    end = first if dialect.OPTIONS.get("render_as_batch") else "head"
    command.upgrade(migrate.alembic_config(), end, sql=True)

    printed = capsys.readouterr().out
    assert "CREATE TABLE idempotency_keys" in printed
    assert "UPDATE alembic_version" in printed or "INSERT INTO alembic_version" in printed


def test_invalid_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    monkeypatch.setattr("sys.argv", ["app", "migrate"])

    with pytest.raises(SystemExit) as end:
        main("tests.kit.served:app", KitSettings)

    assert str(end.value.code).startswith("DATABASE_URL: this is not a database URL")
    assert len(str(end.value.code).splitlines()) == 1


def test_unreachable_database_is_one_line(tmp_path: Path) -> None:
    settings = make_settings(unreachable_url(tmp_path), database_connect_timeout=1)

    with pytest.raises(SystemExit) as end:
        migrate.main(settings)

    assert "DATABASE_URL right?" in str(end.value.code)


REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = {0!r}, {1!r}


def upgrade() -> None:
    with op.batch_alter_table("things") as batch:
        batch.add_column(sa.Column({0!r}, sa.Integer, {2}))
"""


def test_revisions_that_break_a_rule_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "versions").mkdir()
    for name, parent, options in [
        ("first", None, "nullable=False"),
        ("second", "first", "nullable=False, server_default='0'"),
        ("third", "first", "nullable=True"),
    ]:
        path = tmp_path / "versions" / f"{name}.py"
        path.write_text(REVISION.format(name, parent, options))
    monkeypatch.setattr(migrations, "_revisions", lambda: ScriptDirectory(tmp_path))

    assert set(migrations.history_has_one_head()) == {"second", "third"}
    assert list(migrations.new_columns_have_values()) == ["first.py, line 10: 'first'"]


async def test_models_that_migrations_do_not_lead_to_are_found(server: DatabaseServer) -> None:
    table = sa.Table("drift", Base.metadata, sa.Column("id", sa.Integer, primary_key=True))
    try:
        [difference] = await migrated_schema.migrations_lead_to_the_models(server)
    finally:
        Base.metadata.remove(table)

    assert "drift" in difference


async def test_downgrade_that_leaves_something_is_found(
    server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "downgrade", lambda config, revision: None)

    assert "idempotency_keys" in await migrated_schema.migrations_go_down_and_up_again(server)
