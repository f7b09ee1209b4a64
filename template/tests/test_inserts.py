"""New rows by `insert_one`: as with `session.add` and `session.flush`."""

import pytest
from sqlalchemy import inspect
from sqlalchemy.exc import IntegrityError

from app.db.database import Database
from app.db.inserts import insert_one
from tests.probe import Probe, add_probes, names_of


async def test_new_object_is_what_a_later_reader_gets(probe_database: Database) -> None:
    async with probe_database.write() as session:
        new = await insert_one(session, Probe, name="new")
        seen = (new.id, new.name, new.count, new.remark, new.parent_id)
    async with probe_database.read() as session:
        found = await session.get(Probe, new.id)

    assert found is not None
    assert seen == (found.id, "new", 0, "none", None)
    assert (found.name, found.count, found.remark, found.parent_id) == seen[1:]


async def test_column_whose_attribute_has_another_name_is_set(probe_database: Database) -> None:
    async with probe_database.write() as session:
        new = await insert_one(session, Probe, name="new", note="mine")

    assert new.remark == "mine"


async def test_session_tracks_the_new_object(probe_database: Database) -> None:
    async with probe_database.write() as session:
        new = await insert_one(session, Probe, name="new")
        assert inspect(new).persistent
        assert new not in session.dirty
        assert await session.get(Probe, new.id) is new
        new.name = "changed"

    assert await names_of(probe_database) == ["changed"]


async def test_row_that_breaks_a_constraint_is_refused(probe_database: Database) -> None:
    await add_probes(probe_database, "taken")
    async with probe_database.write() as session:
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                await insert_one(session, Probe, name="taken")

    assert await names_of(probe_database) == ["taken"]


async def test_name_that_is_no_column_is_refused(probe_database: Database) -> None:
    async with probe_database.write() as session:
        with pytest.raises(TypeError, match="Probe has no column nmae"):
            await insert_one(session, Probe, nmae="new")
