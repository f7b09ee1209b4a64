"""Migrations on MySQL, which commits each change of the schema."""

import asyncio
import logging

import pytest
from sqlalchemy.exc import DBAPIError

from app.kit.db.engine import create_engine
from tests.kit.application import make_settings
from tests.kit.migration_project import Project, project

__all__ = ["project"]


async def test_revision_that_fails_in_its_middle_keeps_what_it_did(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    body = """
op.create_table("first", sa.Column("id", sa.Integer, primary_key=True))
op.execute("nonsense")
"""
    with pytest.raises(DBAPIError, match="nonsense"):
        await project.upgrade(body)
    assert "revision 1 failed in its middle: what it had changed before stays" in caplog.text
    assert await project.execute("SELECT count(*) FROM alembic_version") == [(0,)]
    assert await project.execute("SHOW TABLES LIKE 'first'") == [("first",)]

    # The next run begins it anew.
    with pytest.raises(DBAPIError, match="'first' already exists"):
        await project.upgrade()
    await project.execute("DROP TABLE first")
    [path] = project.versions.glob("*.py")
    path.write_text(path.read_text().replace("nonsense", "SELECT 1 + 1"))
    await project.upgrade()
    assert await project.execute("SELECT version_num FROM alembic_version") == [("1",)]


async def test_migration_waits_for_a_lock_and_lets_requests_pass(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await project.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")
    engine = create_engine(make_settings(project.url), "write")
    async with engine.connect() as holder, engine.connect() as other:
        await holder.exec_driver_sql("SELECT * FROM things")
        body = 'op.add_column("things", sa.Column("n", sa.Integer))'
        migrating = asyncio.create_task(project.upgrade(body))
        while "waiting for a lock that the next revision needs" not in caplog.text:
            # It never waits for longer than a second, or this would fail after five.
            await other.exec_driver_sql("SELECT * FROM things")
            await other.rollback()
            await asyncio.sleep(0.05)
        assert not migrating.done()
        await holder.rollback()
        await migrating
    await engine.dispose()
    assert await project.execute("SELECT n FROM things") == []


async def test_lock_is_lost_only_with_the_connection_that_migrates(project: Project) -> None:
    async with project.connect() as first:
        second = asyncio.create_task(project.execute("SELECT 1"))
        await asyncio.wait([second], timeout=0.5)
        assert not second.done()
        with pytest.raises(DBAPIError):
            await first.exec_driver_sql("KILL CONNECTION_ID()")
        await first.rollback()
        assert await second == [(1,)]
