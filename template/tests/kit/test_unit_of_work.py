"""The unit of work as docs/transactions.md describes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from datetime import datetime
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse
from httpx2 import AsyncClient
from sqlalchemy import insert, literal, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.db import Database, ReadOnlySessionError, TransactionControlError, UTCDateTime
from app.kit.web import DatabaseDep, ReadSession, Router, WriteSession, set_principal, transaction
from tests.kit.faults import lose_connection
from tests.kit.probe import Probe, add_probes, add_route, all_returned, names_of

KEY = {"Idempotency-Key": "key"}


async def fail_once(session: AsyncSession, attempts: list[Any]) -> None:
    """Make the database roll back the transaction of the first attempt."""
    attempts.append(session)
    if len(attempts) == 1:
        await lose_connection(session)


# Failed statements whose error was caught


@pytest.mark.parametrize("how", ["insert", "flush"])
async def test_caught_database_error_outside_a_savepoint_fails_the_request(
    live_probe_app: FastAPI,
    live_probe_database: Database,
    live_probe_client: AsyncClient,
    how: str,
) -> None:
    await add_probes(live_probe_database, "taken")

    async def swallow(session: WriteSession) -> dict[str, str]:
        session.add(Probe(name="order"))
        await session.flush()
        try:
            if how == "insert":
                await session.execute(insert(Probe).values(name="taken", count=0))
            else:
                session.add(Probe(name="taken"))
                await session.flush()
        except IntegrityError:
            pass
        return {"status": "stored"}

    swallow.__name__ = f"swallow_{how}"
    add_route(live_probe_app)(swallow)

    response = await live_probe_client.post(f"/swallow_{how}")

    assert response.status_code == 409
    assert await names_of(live_probe_database) == ["taken"]


async def test_caught_database_error_fails_a_job_as_well(live_probe_database: Database) -> None:
    await add_probes(live_probe_database, "taken")

    async def work() -> None:
        async with live_probe_database.write() as session:
            session.add(Probe(name="order"))
            await session.flush()
            with pytest.raises(IntegrityError):
                await session.execute(insert(Probe).values(name="taken", count=0))

    with pytest.raises(IntegrityError):
        await work()
    assert await names_of(live_probe_database) == ["taken"]


async def test_error_inside_a_savepoint_fails_nothing_else(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "taken")

    @add_route(live_probe_app)
    async def go_on(session: WriteSession) -> None:
        session.add(Probe(name="before"))
        await session.flush()
        try:
            async with session.begin_nested():
                await session.execute(insert(Probe).values(name="taken", count=0))
        except IntegrityError:
            session.add(Probe(name="after"))

    assert (await live_probe_client.post("/go_on")).status_code == 200
    assert await names_of(live_probe_database) == ["taken", "before", "after"]


async def test_caught_loss_of_the_connection_is_retried_as_a_whole(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts: list[Any] = []

    @add_route(live_probe_app)
    async def swallow_loss(session: WriteSession) -> None:
        session.add(Probe(name="order"))
        await session.flush()
        try:
            await fail_once(session, attempts)
        except DBAPIError:
            return
        session.add(Probe(name="audit"))

    assert (await live_probe_client.post("/swallow_loss")).status_code == 200
    assert len(attempts) == 2
    assert await names_of(live_probe_database) == ["order", "audit"]


@pytest.mark.parametrize("nested", [False, True])
async def test_caught_deadlock_is_retried_as_a_whole(
    live_probe_app: FastAPI,
    live_probe_database: Database,
    live_probe_client: AsyncClient,
    nested: bool,
) -> None:
    await add_probes(live_probe_database, "one", "two")
    first_locked = asyncio.Barrier(2)
    waits = 2
    caught: list[DBAPIError] = []

    async def lock(session: AsyncSession, name: str) -> None:
        await session.execute(update(Probe).where(Probe.name == name).values(count=1))

    async def cross(first: str, second: str, session: WriteSession) -> None:
        nonlocal waits
        session.add(Probe(name=f"order {first}"))
        await session.flush()
        await lock(session, first)
        if waits:
            waits -= 1
            with suppress(TimeoutError, asyncio.BrokenBarrierError):
                async with asyncio.timeout(1):
                    await first_locked.wait()  # In vain where writers take turns.
        try:
            async with session.begin_nested() if nested else nullcontext():
                await lock(session, second)
        except DBAPIError as error:
            caught.append(error)
        session.add(Probe(name=f"audit {first}"))

    cross.__name__ = f"cross_{nested}".lower()
    add_route(live_probe_app)(cross)

    responses = await asyncio.gather(
        live_probe_client.post(f"/{cross.__name__}?first=one&second=two"),
        live_probe_client.post(f"/{cross.__name__}?first=two&second=one"),
    )

    assert [response.status_code for response in responses] == [200, 200]
    names = set(await names_of(live_probe_database)) - {"one", "two"}
    if nested and live_probe_database.writer.dialect.name == "postgresql":
        # There, a deadlock rolls back only the savepoint, and the rest may be committed.
        assert {"order one", "order two"} <= names
    else:
        assert names == {"order one", "audit one", "order two", "audit two"}


@pytest.mark.parametrize(
    "statement",
    [text("SELECT :missing"), select(literal(datetime(2026, 1, 1), UTCDateTime()))],
    ids=["missing parameter", "value that a type refuses"],
)
async def test_statement_that_never_reached_the_driver_fails_at_once(
    live_probe_database: Database, statement: Any
) -> None:
    async def work(session: AsyncSession) -> None:
        await session.execute(select(Probe))
        await session.execute(statement)

    with pytest.raises(SQLAlchemyError):
        await live_probe_database.run_transaction(work)


async def test_statement_after_a_caught_error_fails_as_that_error_did(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts: list[Any] = []

    @add_route(live_probe_app)
    async def go_on_regardless(session: WriteSession) -> None:
        with suppress(DBAPIError):
            await fail_once(session, attempts)
        await session.execute(insert(Probe).values(name="regardless", count=0))

    assert (await live_probe_client.post("/go_on_regardless")).status_code == 200
    assert len(attempts) == 2
    assert await names_of(live_probe_database) == ["regardless"]


# Errors that are not the database's


async def test_error_of_an_owner_is_no_database_error(
    live_probe_app: FastAPI, live_probe_client: AsyncClient
) -> None:
    calls = []

    @add_route(live_probe_app)
    async def call_nobody(session: ReadSession) -> None:
        calls.append(await session.scalar(select(1)))
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise HTTPException(502, "The other service is unreachable.") from error

    @add_route(live_probe_app)
    async def miss_a_file(session: ReadSession) -> None:
        calls.append(await session.scalar(select(1)))
        raise FileNotFoundError("missing.txt")

    assert (await live_probe_client.post("/call_nobody")).status_code == 502
    with pytest.raises(FileNotFoundError):
        await live_probe_client.post("/miss_a_file")
    assert calls == [1, 1]


async def test_row_deleted_by_another_transaction_is_retried(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "vanishing")
    attempts: list[Any] = []

    @add_route(live_probe_app, "PATCH")
    async def change(session: WriteSession) -> None:
        attempts.append(session)
        probe = (await session.scalars(select(Probe))).one()
        if len(attempts) == 1:
            # Simulates another request, which is impossible with a single writer.
            await session.execute(text("DELETE FROM probes"))
        probe.count = 1

    assert (await live_probe_client.patch("/change")).status_code == 200
    assert len(attempts) == 2


# A retry shares nothing with the previous attempt


async def test_retry_is_a_fresh_start(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts: list[Any] = []
    log: list[str] = []
    lock = asyncio.Lock()

    async def hold_lock(request: Request) -> AsyncIterator[None]:
        assert not hasattr(request.state, "mark")
        request.state.mark = True
        async with lock:
            log.append("begin")
            yield
            log.append("end")

    @add_route(live_probe_app)
    async def consume(
        data: dict[str, Any], session: WriteSession, held: Annotated[None, Depends(hold_lock)]
    ) -> dict[str, Any]:
        session.add(Probe(name=data.pop("name")))
        await session.flush()
        await fail_once(session, attempts)
        return data

    response = await live_probe_client.post("/consume", json={"name": "kept", "rest": 1})

    assert response.json() == {"rest": 1}
    assert await names_of(live_probe_database) == ["kept"]
    # The one of the failed attempt got its exception.
    assert log == ["begin", "begin", "end"]
    assert not lock.locked()


async def test_upload_is_available_again_in_a_retry(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts: list[Any] = []

    @add_route(live_probe_app)
    async def upload(file: UploadFile, session: WriteSession) -> dict[str, int]:
        content = await file.read()
        await fail_once(session, attempts)
        session.add(Probe(name=content.decode()))
        return {"bytes": len(content)}

    response = await live_probe_client.post("/upload", files={"file": ("a.txt", b"content")})

    assert response.json() == {"bytes": 7}
    assert len(attempts) == 2
    assert await names_of(live_probe_database) == ["content"]


async def test_loss_inside_a_task_group_is_retried(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts: list[Any] = []

    @add_route(live_probe_app)
    async def group(session: WriteSession) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail_once(session, attempts))
        session.add(Probe(name="grouped"))

    assert (await live_probe_client.post("/group")).status_code == 200
    assert await names_of(live_probe_database) == ["grouped"]


async def test_streaming_body_is_read_by_the_endpoint_and_never_retried(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts: list[Any] = []

    @add_route(live_probe_app)
    @transaction(streaming_body=True)
    async def receive(request: Request, session: WriteSession) -> dict[str, int]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        if size == 4:
            await fail_once(session, attempts)
        return {"bytes": size}

    assert (await live_probe_client.post("/receive", content=b"many")).status_code == 503
    assert len(attempts) == 1
    assert (await live_probe_client.post("/receive", content=b"bytes")).json() == {"bytes": 5}


# The order: dependencies, endpoint, response, teardown, COMMIT, response sent, background tasks


async def test_function_scope_ends_before_the_commit(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    async def write_at_the_end(session: WriteSession) -> AsyncIterator[None]:
        yield
        session.add(Probe(name="at the end"))

    async def fail_at_the_end() -> AsyncIterator[None]:
        yield
        raise HTTPException(409, "Refused at the end.")

    @add_route(live_probe_app)
    async def write_late(
        late: Annotated[None, Depends(write_at_the_end, scope="function")],
    ) -> None:
        pass

    @add_route(live_probe_app)
    async def fail_late(
        session: WriteSession, late: Annotated[None, Depends(fail_at_the_end, scope="function")]
    ) -> None:
        session.add(Probe(name="lost"))

    assert (await live_probe_client.post("/write_late")).status_code == 200
    assert (await live_probe_client.post("/fail_late")).status_code == 409
    assert await names_of(live_probe_database) == ["at the end"]


async def test_request_scope_ends_after_the_commit(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    seen: list[list[str]] = []

    async def look_at_the_end(database: DatabaseDep) -> AsyncIterator[None]:
        yield
        seen.append(await names_of(database))

    @add_route(live_probe_app)
    async def write_and_end(
        session: WriteSession, late: Annotated[None, Depends(look_at_the_end)]
    ) -> None:
        session.add(Probe(name="committed"))

    assert (await live_probe_client.post("/write_and_end")).status_code == 200
    assert seen == [["committed"]]


async def test_background_tasks_run_after_the_commit_and_not_after_a_rollback(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    ran: list[str] = []

    @add_route(live_probe_app)
    async def notify(
        status: int, session: WriteSession, tasks: BackgroundTasks, response: Response
    ) -> Response:
        session.add(Probe(name=f"for {status}"))
        tasks.add_task(ran.append, f"mail {status}")
        return JSONResponse({}, status)

    await live_probe_client.post("/notify?status=200")
    await live_probe_client.post("/notify?status=409")

    assert ran == ["mail 200"]
    assert await names_of(live_probe_database) == ["for 200"]


async def test_stream_of_events_begins_after_the_commit(
    live_probe_app: FastAPI, live_probe_client: AsyncClient
) -> None:
    begun: list[list[str]] = []
    attempts: list[Any] = []

    async def write_first(session: WriteSession) -> None:
        session.add(Probe(name="first"))
        await session.flush()
        await fail_once(session, attempts)

    async def events(
        database: DatabaseDep, first: Annotated[None, Depends(write_first)]
    ) -> AsyncIterator[dict[str, int]]:
        begun.append(await names_of(database))
        yield {"number": 1}

    router = Router()
    router.post("/events", response_class=EventSourceResponse)(events)
    live_probe_app.include_router(router)

    response = await live_probe_client.post("/events")

    assert "1" in response.text
    assert len(attempts) == 2
    assert begun == [["first"]]


# Transaction control by owners' code


@pytest.mark.parametrize("call", ["commit", "rollback", "close", "reset", "invalidate", "aclose"])
async def test_transaction_cannot_be_ended_by_an_endpoint(
    live_probe_database: Database, call: str
) -> None:
    async def end() -> None:
        async with live_probe_database.write() as session:
            session.add(Probe(name="lost"))
            await getattr(session, call)()

    with pytest.raises(TransactionControlError, match="begin_nested"):
        await end()
    assert await names_of(live_probe_database) == []
    assert await all_returned(live_probe_database)


async def test_session_of_an_endpoint_is_no_context_manager(
    live_probe_database: Database,
) -> None:
    async def enter() -> None:
        async with live_probe_database.write() as session, session:
            pass

    async def begin() -> None:
        async with live_probe_database.write() as session:
            session.begin()

    for use in (enter, begin):
        with pytest.raises(TransactionControlError, match="flush"):
            await use()


# Isolation


async def test_isolation_of_a_route_is_applied_before_anything_else(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "a", "b")
    both_have_read = asyncio.Barrier(2)
    tries = 0

    async def authenticate(session: ReadSession) -> None:
        await session.scalar(select(Probe.id).limit(1))

    @add_route(live_probe_app)
    @transaction(isolation="SERIALIZABLE")
    async def go_off_duty(
        name: str, session: WriteSession, user: Annotated[None, Depends(authenticate)]
    ) -> None:
        # Write skew: each sees the other as on duty.
        nonlocal tries
        tries += 1
        probes = list(await session.scalars(select(Probe).where(Probe.count == 0)))
        if tries <= 2:
            with suppress(TimeoutError, asyncio.BrokenBarrierError):
                async with asyncio.timeout(0.5):
                    await both_have_read.wait()  # In vain where writers take turns.
        if len(probes) < 2:
            raise HTTPException(409, "Somebody must stay.")
        for probe in probes:
            probe.count = 1 if probe.name == name else probe.count

    responses = await asyncio.gather(
        *(live_probe_client.post(f"/go_off_duty?name={name}", headers={}) for name in "ab")
    )

    assert sorted(response.status_code for response in responses) == [200, 409]
    async with live_probe_database.read() as session:
        assert len(list(await session.scalars(select(Probe).where(Probe.count == 0)))) == 1


async def test_reads_of_a_route_with_isolation_are_of_one_snapshot(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app, "GET")
    @transaction(isolation="REPEATABLE READ")
    async def snapshot(session: ReadSession) -> list[int]:
        before = len(list(await session.scalars(select(Probe))))
        await add_probes(live_probe_database, "meanwhile")
        return [before, len(list(await session.scalars(select(Probe))))]

    assert (await live_probe_client.get("/snapshot")).json() == [0, 0]
    assert await all_returned(live_probe_database)


async def test_isolation_after_the_first_statement_raises(live_probe_database: Database) -> None:
    async def ask_late() -> None:
        async with live_probe_database.write() as session:
            await session.execute(select(Probe))
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

    with pytest.raises(TransactionControlError, match="isolation="):
        await ask_late()


async def test_isolation_under_a_fixture_that_rolls_back_is_explained(
    probe_database: Database,
) -> None:
    with pytest.raises(TransactionControlError, match="live_client"):
        async with probe_database.write(isolation="SERIALIZABLE"):
            pass


async def test_unit_of_work_inside_another_one_under_such_a_fixture_is_explained(
    probe_database: Database,
) -> None:
    async with probe_database.read():
        with pytest.raises(TransactionControlError, match="live_client"):
            async with probe_database.write():
                pass


# Reading and writing in one request


@pytest.mark.parametrize(
    "statement", [insert(Probe).values(name="x"), text("DELETE FROM probes")], ids=["DML", "text"]
)
async def test_reading_session_beside_a_writing_one_cannot_write(
    live_probe_app: FastAPI,
    live_probe_database: Database,
    live_probe_client: AsyncClient,
    statement: Any,
) -> None:
    name = f"write_by_reading_{type(statement).__name__}".lower()

    async def write_by_reading(reading: ReadSession, session: WriteSession) -> None:
        await reading.execute(statement)

    write_by_reading.__name__ = name
    add_route(live_probe_app)(write_by_reading)

    with pytest.raises(ReadOnlySessionError, match="use WriteSession"):
        await live_probe_client.post(f"/{name}")


async def test_reading_and_writing_share_one_session_on_the_primary(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "parent")

    async def load(session: ReadSession) -> Any:
        return (await session.scalars(select(Probe).where(Probe.name == "parent"))).one()

    @add_route(live_probe_app)
    async def write_what_was_read(
        probe: Annotated[Any, Depends(load)], reading: ReadSession, session: WriteSession
    ) -> list[str]:
        # Loaded by one, and in the identity map of the other.
        loaded: Any = await session.get(Probe, probe.id)
        assert loaded is probe
        probe.name = "renamed"
        await session.flush()
        return list(await reading.scalars(select(Probe.name)))

    assert (await live_probe_client.post("/write_what_was_read")).json() == ["renamed"]
    assert await names_of(live_probe_database) == ["renamed"]


async def test_request_that_turns_out_to_write_restarts_on_the_primary(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    # Known only at run time: a dependency that a test has overridden.
    reads: list[str] = []

    async def placeholder() -> str:
        return "unused"

    async def write(session: WriteSession) -> str:
        session.add(Probe(name="written"))
        return "written"

    async def read_first(session: ReadSession) -> None:
        reads.append(str(await session.scalar(select(1))))

    @add_route(live_probe_app)
    async def overridden(
        first: Annotated[None, Depends(read_first)], then: Annotated[str, Depends(placeholder)]
    ) -> str:
        return then

    live_probe_app.dependency_overrides[placeholder] = write
    try:
        response = await live_probe_client.post("/overridden")
    finally:
        live_probe_app.dependency_overrides.clear()

    assert response.json() == "written"
    assert len(reads) == 2
    assert await names_of(live_probe_database) == ["written"]


async def test_request_that_only_reads_holds_no_connection_between_statements(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def call_another_service(session: ReadSession, database: DatabaseDep) -> bool:
        await session.scalar(select(1))
        free = await all_returned(database)

        async def store(writing: AsyncSession) -> None:
            writing.add(Probe(name="answered"))

        await database.run_transaction(store)
        await session.scalar(select(1))
        return free

    assert (await live_probe_client.post("/call_another_service")).json() is True
    assert await names_of(live_probe_database) == ["answered"]


async def test_transaction_outside_a_request_is_retried(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    calls: list[str] = []
    attempts: list[Any] = []

    @add_route(live_probe_app)
    async def pay(database: DatabaseDep) -> None:
        calls.append("the other service")

        async def store(session: AsyncSession) -> None:
            session.add(Probe(name="paid"))
            await fail_once(session, attempts)

        await database.run_transaction(store)

    assert (await live_probe_client.post("/pay")).status_code == 200
    assert calls == ["the other service"]
    assert await names_of(live_probe_database) == ["paid"]


# Idempotency-Key


async def test_replay_comes_after_authentication_and_to_the_same_principal_only(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    async def authenticate(request: Request) -> None:
        token = request.headers.get("authorization")
        if token is None:
            raise HTTPException(401)
        # The same user by whichever token.
        set_principal(request, token[:3])

    @add_route(live_probe_app)
    async def order(session: WriteSession, user: Annotated[None, Depends(authenticate)]) -> str:
        session.add(Probe(name="ordered"))
        return "secret of ann"

    async def post(token: str | None) -> Any:
        headers = KEY if token is None else {**KEY, "Authorization": token}
        return await live_probe_client.post("/order", headers=headers)

    assert (await post("ann 1")).json() == "secret of ann"
    assert (await post(None)).status_code == 401
    assert (await post("bob 1")).status_code == 422
    again = await post("ann 2")
    assert (again.json(), again.headers["Idempotency-Replayed"]) == ("secret of ann", "true")
    assert await names_of(live_probe_database) == ["ordered"]


async def test_other_credentials_do_not_get_the_response(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def order_by_token(session: WriteSession) -> str:
        session.add(Probe(name="ordered"))
        return "secret"

    statuses = [
        (await live_probe_client.post("/order_by_token", headers={**KEY, **headers})).status_code
        for headers in ({"Authorization": "a"}, {"Authorization": "b"}, {}, {"Cookie": "s=1"})
    ]

    assert statuses == [200, 422, 422, 422]
    assert await names_of(live_probe_database) == ["ordered"]


async def test_replay_is_what_the_first_response_was(
    live_probe_app: FastAPI, live_probe_client: AsyncClient, live_probe_database: Database
) -> None:
    headers = {"ETag": '"1"', "Cache-Control": "no-store", "Location": "/" + "x" * 3000}

    @add_route(live_probe_app)
    async def respond(session: WriteSession) -> Response:
        response = Response("text", 202, {**headers, "X-Other": "1"}, "text/csv")
        response.set_cookie("session", "secret")
        return response

    first = await live_probe_client.post("/respond", headers=KEY)
    live_probe_client.cookies.clear()
    again = await live_probe_client.post("/respond", headers=KEY)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in (*headers, "Content-Type"):
        assert again.headers[name] == first.headers[name]
    assert "session=" not in again.headers.get("set-cookie", "")


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"content": b'{"a": 1, "b": 2.50}'}, {"content": b'{"b":2.50,\n"a":1}'}),
        (
            {"content": b"--xyz\r\nbody\r\n--xyz--", "type": "multipart/form-data; boundary=xyz"},
            {"content": b"--abc\r\nbody\r\n--abc--", "type": "multipart/form-data; boundary=abc"},
        ),
    ],
    ids=["JSON", "multipart"],
)
async def test_same_content_in_another_form_is_the_same_request(
    live_probe_app: FastAPI,
    live_probe_database: Database,
    live_probe_client: AsyncClient,
    first: dict[str, Any],
    again: dict[str, Any],
) -> None:
    name = f"take_{first['content'][0]}"

    async def take(request: Request, session: WriteSession) -> None:
        await request.body()

    take.__name__ = name
    add_route(live_probe_app)(take)

    async def post(content: bytes, type: str = "application/json") -> Any:
        headers = {**KEY, "Content-Type": type}
        return await live_probe_client.post(f"/{name}", content=content, headers=headers)

    assert (await post(**first)).status_code == 200
    replayed = await post(**again)
    assert (replayed.status_code, replayed.headers["Idempotency-Replayed"]) == (200, "true")
    assert (await post(b"{}")).status_code == 422


async def test_work_in_pieces_takes_no_key(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def work_in_pieces(session: ReadSession, database: DatabaseDep) -> bool:
        await session.scalar(select(1))
        return await all_returned(database)

    response = await live_probe_client.post("/work_in_pieces", headers=KEY)

    # It holds no connection between its statements, as without a key.
    assert response.json() is True
    assert "Idempotency-Replayed" not in response.headers


async def test_route_can_opt_out(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    @transaction(idempotency_key=False)
    async def make_token(session: WriteSession) -> str:
        session.add(Probe(name=f"token {len(await names_of(live_probe_database))}"))
        return "token"

    for _ in range(2):
        assert (await live_probe_client.post("/make_token", headers=KEY)).status_code == 200

    assert await names_of(live_probe_database) == ["token 0", "token 1"]
