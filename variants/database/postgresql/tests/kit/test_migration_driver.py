"""Migrations on PostgreSQL: schemas, locks, indexes that are built while requests go on."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from app.kit.db.engine import create_engine
from app.kit.migrations import upgrade
from tests.kit.application import make_settings
from tests.kit.migration_project import Project, new_metadata, project, table

__all__ = ["project"]


async def test_tables_in_a_schema_of_their_own(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "customers")
    customer = sa.Column("customer", sa.Integer, sa.ForeignKey("customers.id"))
    kind: sa.Column[str] = sa.Column("kind", sa.Enum("A", "B", name="kind", schema="billing"))
    table(metadata, "bills", customer, kind, schema="billing")
    assert "CREATE SCHEMA" in await project.migrate(metadata)

    await project.execute("CREATE SCHEMA others", "CREATE TABLE others.things (id integer)")
    assert await project.differences(metadata) == ""
    await project.migrate(new_metadata())


async def test_array_of_an_enum(project: Project) -> None:
    metadata = new_metadata()
    kinds = sa.Enum("A", "it's", name="kind")
    table(metadata, "things", sa.Column("kinds", sa.ARRAY(kinds)))
    await project.migrate(metadata)
    await project.migrate(new_metadata())


async def test_migration_waits_for_a_lock_and_lets_requests_pass(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    await project.execute("CREATE TABLE things (id integer)")
    engine = create_engine(make_settings(project.url), "write")
    async with engine.connect() as holder, engine.connect() as other:
        await holder.exec_driver_sql("SELECT * FROM things")
        add = 'op.add_column("things", sa.Column("n", sa.Integer))'
        create = 'op.create_table("done", sa.Column("id", sa.Integer))'
        migrating = asyncio.create_task(project.upgrade(create, add))
        while "waiting for a lock that the next revision needs" not in caplog.text:
            # Behind a change of the table it waits for a second at most, or it would fail after 5.
            await other.exec_driver_sql("INSERT INTO things VALUES (1)")
            await other.commit()
            await asyncio.sleep(0.05)
        # Each revision has a transaction of its own.
        assert list(await other.exec_driver_sql("SELECT * FROM done")) == []
        assert not migrating.done()
        await holder.rollback()
        await migrating
    await engine.dispose()
    assert await project.execute("SELECT count(n) FROM things") == [(0,)]


async def test_revision_that_committed_a_part_is_not_run_again(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    await project.execute("CREATE TABLE things (id integer)")
    engine = create_engine(make_settings(project.url), "write")
    async with engine.connect() as holder:
        await holder.exec_driver_sql("SELECT * FROM things")
        with pytest.raises(DBAPIError, match="lock timeout"):
            await project.upgrade(
                'with op.get_context().autocommit_block():\n    op.execute("SELECT 1")\n'
                'op.add_column("things", sa.Column("n", sa.Integer))'
            )
    await engine.dispose()
    assert "revision 1 failed in its middle" in caplog.text


async def test_index_of_a_failed_attempt_is_made_anew(project: Project) -> None:
    await project.execute("CREATE TABLE things (id integer)", "INSERT INTO things VALUES (1), (1)")
    body = 'create_index("uq_things", "things", ["id"], unique=True)'
    with pytest.raises(DBAPIError, match="could not create unique index"):
        await project.upgrade(body)
    query = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'uq_things'::regclass"
    assert await project.execute(query) == [(False,)]

    await project.execute("DELETE FROM things")
    await project.upgrade()
    assert await project.execute(query) == [(True,)]


async def test_index_is_built_while_others_write(project: Project) -> None:
    await project.execute("CREATE TABLE things (id integer)")
    engine = create_engine(make_settings(project.url), "write")
    async with engine.connect() as holder, engine.connect() as other:
        await holder.exec_driver_sql("INSERT INTO things VALUES (1)")
        body = 'create_index("ix_things", "things", ["id"])'
        migrating = asyncio.create_task(project.upgrade(body))
        # Longer than a change of the schema may wait for a lock.
        for number in range(30):
            await other.exec_driver_sql(f"INSERT INTO things VALUES ({number})")
            await other.commit()
            await asyncio.sleep(0.05)
        assert not migrating.done()
        await holder.commit()
        await migrating
    await engine.dispose()


async def test_missing_right_is_a_sentence(project: Project) -> None:
    await project.execute(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN PASSWORD 'x'",
    )
    url = sa.make_url(project.url).set(username="reader", password="x")
    with pytest.raises(SystemExit) as end:
        await asyncio.to_thread(upgrade.main, make_settings(url.render_as_string(False)))
    await project.execute("DROP ROLE reader")

    assert "permission denied for schema public" in str(end.value.code)
    assert len(str(end.value.code).splitlines()) == 1


async def test_unknown_parameter_is_a_sentence(project: Project) -> None:
    with pytest.raises(SystemExit) as end:
        await asyncio.to_thread(upgrade.main, make_settings(f"{project.url}?keepalives=1"))

    assert end.value.code == "DATABASE_URL: the driver does not know the parameter keepalives."
