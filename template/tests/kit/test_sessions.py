"""Sessions: what each kind may do, when it ends, and sessions of scripts."""

from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import Executable, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.db.database import Database
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.db.sessions import ReadOnlySessionError
from app.kit.db.unit_of_work import UnitOfWork
from app.kit.web.transaction import WriteSession
from tests.kit.faults import lose_connection
from tests.kit.probe import Probe, add_probes, add_route, all_returned, names_of


async def test_reading_session_has_nothing_that_writes(probe_database: Database) -> None:
    async with probe_database.read() as reading:
        session: Any = reading  # The type checker refuses it already.
        with pytest.raises(ReadOnlySessionError, match="has no `add`; use WriteSession"):
            session.add(Probe(name="refused"))


async def test_change_of_an_entity_that_was_loaded_for_reading_is_refused(
    live_probe_database: Database,
) -> None:
    await add_probes(live_probe_database, "loaded")

    async def change() -> None:
        async with live_probe_database.read() as session:
            probe = (await session.scalars(select(Probe))).one()
            probe.name = "changed"

    with pytest.raises(ReadOnlySessionError, match="use WriteSession"):
        await change()
    assert await names_of(live_probe_database) == ["loaded"]


@pytest.mark.parametrize(
    "statement",
    [insert(Probe).values(name="x"), update(Probe).values(name="x"), delete(Probe)],
    ids=["insert", "update", "delete"],
)
async def test_statement_that_writes_is_refused_by_a_reading_session(
    probe_database: Database, statement: Executable
) -> None:
    async with probe_database.read() as session:
        with pytest.raises(ReadOnlySessionError, match="use WriteSession"):
            await session.execute(statement)


@pytest.mark.parametrize(
    "statement",
    ["INSERT INTO probes (name, count) VALUES ('x', 0)", "DELETE FROM probes", "DROP TABLE probes"],
)
async def test_sql_that_writes_is_refused_by_the_database_for_a_reading_session(
    live_probe_database: Database, statement: str
) -> None:
    await add_probes(live_probe_database, "stays")

    async with live_probe_database.read() as session:
        with pytest.raises(DBAPIError) as refusal:
            await session.execute(text(statement))

    assert classify(refusal.value) is ErrorKind.READ_ONLY
    assert await names_of(live_probe_database) == ["stays"]


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_session_raises_after_its_end_instead_of_leaking(
    live_probe_database: Database, kind: str
) -> None:
    async with getattr(live_probe_database, kind)() as session:
        await session.scalars(select(Probe))

    with pytest.raises(InvalidRequestError):
        await session.scalars(select(Probe))
    assert await all_returned(live_probe_database)


async def test_session_of_a_request_raises_after_its_end(
    live_probe_app: FastAPI, live_probe_client: AsyncClient
) -> None:
    kept = []

    @add_route(live_probe_app)
    async def keep(session: WriteSession) -> None:
        kept.append(session)

    await live_probe_client.post("/keep")

    with pytest.raises(InvalidRequestError):
        await kept[0].scalars(select(Probe))


async def test_script_commits_at_the_end_of_its_block(live_probe_database: Database) -> None:
    async with live_probe_database.write() as session:
        session.add(Probe(name="kept"))

    assert await names_of(live_probe_database) == ["kept"]


async def test_script_that_raises_writes_nothing(live_probe_database: Database) -> None:
    async def script() -> None:
        async with live_probe_database.write() as session:
            session.add(Probe(name="lost"))
            await session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await script()
    assert await names_of(live_probe_database) == []


async def test_what_was_written_stays_readable_after_the_commit(
    live_probe_database: Database,
) -> None:
    async with live_probe_database.write() as session:
        kept = Probe(name="kept")
        session.add(kept)

    assert (kept.name, kept.count) == ("kept", 0)


async def test_run_transaction_retries_the_whole_work(live_probe_database: Database) -> None:
    attempts = []

    async def work(session: AsyncSession) -> str:
        attempts.append(session)
        session.add(Probe(name=f"attempt {len(attempts)}"))
        await session.flush()
        if len(attempts) == 1:
            await lose_connection(session)
        return "done"

    assert await live_probe_database.run_transaction(work) == "done"
    assert await names_of(live_probe_database) == ["attempt 2"]


async def test_run_transaction_retries_no_permanent_error(live_probe_database: Database) -> None:
    await add_probes(live_probe_database, "taken")
    attempts = []

    async def work(session: AsyncSession) -> None:
        attempts.append(session)
        session.add(Probe(name="taken"))

    with pytest.raises(DBAPIError) as conflict:
        await live_probe_database.run_transaction(work)

    assert classify(conflict.value) is ErrorKind.UNIQUE
    assert len(attempts) == 1


async def test_run_writes_nothing_with_rollback_only(live_probe_database: Database) -> None:
    async def work(unit: UnitOfWork) -> None:
        (await unit.write()).add(Probe(name="lost"))
        unit.rollback_only = True

    await live_probe_database.run_unit(work)

    assert await names_of(live_probe_database) == []
