"""Migrations: they lead to what the models say, and back, whoever runs them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from app.kit.db import migrate
from app.kit.db.engine import create_engine
from tests.kit.faults import unreachable_url
from tests.kit.fixtures import client_of, make_settings, running_app
from tests.kit.processes import run
from tests.kit.server import DatabaseServer


@pytest.fixture
def empty_url(server: DatabaseServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database without a schema, for one test alone."""
    url = server.create_database(f"empty_{abs(hash(request.node.nodeid))}")
    yield url
    server.drop_database(url)


async def on_connection(url: str, function: Callable[[Connection], Any]) -> Any:
    """Call a function as a migration is called: on a connection that may change the schema."""
    engine = create_engine(make_settings(url), "migrate")
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(function)
    finally:
        await engine.dispose()


async def run_alembic(url: str, function: Callable[..., Any], *arguments: str) -> None:
    """Run one of Alembic's commands on a database."""

    def run_it(connection: Connection) -> None:
        config: Config = migrate.alembic_config()
        config.attributes["connection"] = connection
        function(config, *arguments)

    await on_connection(url, run_it)


async def tables_of(url: str) -> set[str]:
    """The names of the tables in a database."""
    names = await on_connection(url, lambda connection: inspect(connection).get_table_names())
    return set(names) - {"alembic_version"}


async def test_upgrade_downgrade_upgrade(empty_url: str) -> None:
    await migrate.upgrade(make_settings(empty_url))
    tables = await tables_of(empty_url)
    assert "idempotency_keys" in tables

    await run_alembic(empty_url, command.downgrade, "base")
    assert await tables_of(empty_url) == set()

    await migrate.upgrade(make_settings(empty_url))
    assert await tables_of(empty_url) == tables


async def test_migrations_lead_to_what_the_models_say(own_url: str) -> None:
    # Where they do not: alembic revision --autogenerate -m "what you changed"
    await run_alembic(own_url, command.check)


async def test_upgrade_of_what_is_up_to_date_changes_nothing(own_url: str) -> None:
    tables = await tables_of(own_url)

    await migrate.upgrade(make_settings(own_url))

    assert await tables_of(own_url) == tables


async def test_several_processes_may_migrate_at_once(empty_url: str, tmp_path: Path) -> None:
    arguments = (tmp_path, "-m", "app", "migrate")
    results = await asyncio.gather(*(run(*arguments, DATABASE_URL=empty_url) for _ in range(4)))

    assert [code for code, _ in results] == [0] * 4, results
    await run_alembic(empty_url, command.check)


async def test_each_revision_is_told(empty_url: str, tmp_path: Path) -> None:
    arguments = (tmp_path, "-m", "app", "migrate")
    _, first = await run(*arguments, DATABASE_URL=empty_url)
    _, second = await run(*arguments, DATABASE_URL=empty_url)

    revisions = list(ScriptDirectory.from_config(migrate.alembic_config()).walk_revisions())
    assert first.splitlines() == [
        *(f"upgraded to {each.revision} ({each.doc})" for each in reversed(revisions)),
        "The schema is up to date.",
    ]
    assert second == "The schema is up to date.\n"


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


async def test_service_migrates_at_start_if_told(empty_url: str) -> None:
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


def test_sql_of_the_migrations_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    command.upgrade(migrate.alembic_config(), "head", sql=True)

    printed = capsys.readouterr().out
    assert "CREATE TABLE idempotency_keys" in printed
    assert "UPDATE alembic_version" in printed or "INSERT INTO alembic_version" in printed


async def test_wrong_setting_is_a_sentence(tmp_path: Path) -> None:
    code, output = await run(tmp_path, "-m", "app", "migrate", DATABASE_URL="nonsense")

    assert code == 1
    assert output.startswith("DATABASE_URL: this is not a database URL")
    assert len(output.splitlines()) == 1


def test_unreachable_database_is_a_sentence(tmp_path: Path) -> None:
    settings = make_settings(unreachable_url(tmp_path), database_connect_timeout=1)

    with pytest.raises(SystemExit) as end:
        migrate.main(settings)

    assert "DATABASE_URL right?" in str(end.value.code)
