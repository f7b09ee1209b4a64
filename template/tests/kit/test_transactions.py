"""One transaction per request: committed before the response, or rolled back."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Response
from fastapi.responses import StreamingResponse
from httpx2 import ASGITransport, AsyncClient
from sqlalchemy import select

from app.kit.db.database import Database
from app.kit.web.transaction import ReadSession, WriteSession
from tests.kit.application import make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import SLOW, lose_connection
from tests.kit.probe import Probe, add_probes, add_route, all_returned, names_of
from tests.kit.waiting import Stopwatch


async def test_failed_commit_is_never_reported_as_success(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    response = await live_probe_client.post("/probes", json={"name": "orphan", "parent_id": 404})

    assert response.status_code == 409
    assert await names_of(live_probe_database) == []
    # Later requests are not affected.
    assert (await live_probe_client.post("/probes", json={"name": "next"})).status_code == 201
    assert await names_of(live_probe_database) == ["next"]


async def test_success_is_reported_after_the_commit(
    live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    response = await live_probe_client.post("/probes", json={"name": "kept"})

    assert response.status_code == 201
    assert await names_of(live_probe_database) == ["kept"]


async def test_nothing_persists_after_an_http_exception(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def refuse(session: WriteSession) -> None:
        session.add(Probe(name="lost"))
        await session.flush()
        raise HTTPException(403)

    assert (await live_probe_client.post("/refuse")).status_code == 403
    assert await names_of(live_probe_database) == []


async def test_nothing_persists_after_an_unexpected_exception(
    live_probe_app: FastAPI, live_probe_database: Database
) -> None:
    @add_route(live_probe_app)
    async def fail(session: WriteSession) -> None:
        session.add(Probe(name="lost"))
        await session.flush()
        raise ZeroDivisionError

    transport = ASGITransport(live_probe_app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/fail")).status_code == 500
    assert await names_of(live_probe_database) == []


async def test_nothing_persists_after_a_returned_error(
    live_probe_app: FastAPI,
    live_probe_database: Database,
    live_probe_client: AsyncClient,
) -> None:
    @add_route(live_probe_app)
    async def answer(status: int, session: WriteSession) -> Response:
        session.add(Probe(name="lost"))
        await session.flush()
        return Response(status_code=status)

    for status in (400, 409, 500):
        response = await live_probe_client.post("/answer", params={"status": status})
        assert response.status_code == status
    assert await names_of(live_probe_database) == []


async def test_stream_begins_with_the_connection_back_in_the_pool(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def stream(session: WriteSession) -> StreamingResponse:
        session.add(Probe(name="streamed"))

        async def body() -> AsyncIterator[str]:
            yield f"{await all_returned(live_probe_database)} {await names_of(live_probe_database)}"

        return StreamingResponse(body())

    assert (await live_probe_client.post("/stream")).text == "True ['streamed']"


async def test_background_tasks_run_after_the_commit(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.extend(await names_of(live_probe_database))

    @add_route(live_probe_app)
    async def create_and_look(session: WriteSession, tasks: BackgroundTasks) -> None:
        session.add(Probe(name="committed"))
        tasks.add_task(look)

    await live_probe_client.post("/create_and_look")

    assert seen == ["committed"]


async def test_request_has_one_session_of_each_kind_and_one_connection(
    live_probe_app: FastAPI, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def compare(
        read: ReadSession, write: WriteSession, again: ReadSession, once_more: WriteSession
    ) -> list[bool]:
        write.add(Probe(name="seen"))
        await write.flush()
        seen = await read.scalar(select(Probe.name))
        reading, writing = await read.connection(), await write.connection()
        same_connection = reading.sync_connection is writing.sync_connection
        return [read is again, write is once_more, same_connection, seen == "seen"]

    assert (await live_probe_client.post("/compare")).json() == [True, True, True, True]


async def test_reads_inside_a_savepoint_do_not_outlive_it(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def nest(read: ReadSession, write: WriteSession) -> list[str]:
        async with write.begin_nested():
            write.add(Probe(name="inner"))
            await write.flush()
            return list((await read.scalars(select(Probe.name))).all())

    assert (await live_probe_client.post("/nest")).json() == ["inner"]
    assert await names_of(live_probe_database) == ["inner"]


@pytest.mark.usefixtures("no_load_shedding")
async def test_requests_that_read_and_write_never_wait_for_each_other(probe_url: str) -> None:
    settings = make_settings(probe_url, database_pool_size=2, database_max_overflow=0)
    async with running_app(settings) as app, client_of(app) as client:

        @add_route(app)
        async def both(name: str, read: ReadSession, write: WriteSession) -> int:
            known = len((await read.scalars(select(Probe))).all())
            write.add(Probe(name=name))
            return known

        requests = [client.post("/both", params={"name": str(n)}) for n in range(10)]
        statuses = [response.status_code for response in await asyncio.gather(*requests)]

        assert statuses == [200] * 10
        assert len(await names_of(app.state.database)) == 10


@pytest.mark.usefixtures("no_load_shedding")
async def test_concurrent_read_modify_writes_lose_nothing(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    await add_probes(live_probe_database, "counter")

    @add_route(live_probe_app)
    async def increment(session: WriteSession) -> None:
        probe = (await session.scalars(select(Probe).with_for_update())).one()
        seen = probe.count
        await asyncio.sleep(0)
        probe.count = seen + 1

    responses = await asyncio.gather(*(live_probe_client.post("/increment") for _ in range(40)))

    assert {response.status_code for response in responses} == {200}
    assert (await live_probe_client.get("/probes")).json()["items"][0]["count"] == 40


async def test_cancelled_requests_leak_no_connection_and_no_lock(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    @add_route(live_probe_app)
    async def linger(session: WriteSession) -> None:
        session.add(Probe(name="lost"))
        await session.flush()
        await session.execute(SLOW)

    for _ in range(50):
        request = asyncio.create_task(live_probe_client.post("/linger"))
        await asyncio.sleep(random.uniform(0, 0.01))
        request.cancel()
        await asyncio.wait([request])

    assert await all_returned(live_probe_database)
    with Stopwatch() as watch:
        response = await live_probe_client.post("/probes", json={"name": "next"})
    assert response.status_code == 201
    assert watch.seconds < 1
    assert await names_of(live_probe_database) == ["next"]


async def test_connection_lost_before_commit_is_retried_transparently(
    live_probe_app: FastAPI, live_probe_database: Database, live_probe_client: AsyncClient
) -> None:
    attempts = []

    @add_route(live_probe_app)
    async def persist(session: WriteSession) -> None:
        attempts.append(session)
        session.add(Probe(name="once"))
        await session.flush()
        if len(attempts) == 1:
            await lose_connection(session)

    assert (await live_probe_client.post("/persist")).status_code == 200
    assert len(attempts) == 2
    assert await names_of(live_probe_database) == ["once"]


async def test_repeatedly_lost_connections_end_in_503(probe_url: str) -> None:
    settings = make_settings(probe_url, database_retry_timeout=0.1)
    async with running_app(settings) as app, client_of(app) as client:

        @add_route(app)
        async def never_persist(session: WriteSession) -> None:
            await lose_connection(session)
            session.add(Probe(name="never"))

        response = await client.post("/never_persist")

        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert await names_of(app.state.database) == []


async def test_session_outside_a_transactional_route_is_explained(
    live_probe_app: FastAPI, live_probe_client: AsyncClient
) -> None:
    router = APIRouter()

    @router.get("/plain")
    async def plain(session: ReadSession) -> None:
        pass

    live_probe_app.include_router(router)

    with pytest.raises(RuntimeError, match="its router with Router"):
        await live_probe_client.get("/plain")
