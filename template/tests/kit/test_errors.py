"""Error responses: `application/problem+json` for every error."""

import json
import re
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from httpx2 import ASGITransport, AsyncClient, Response
from sqlalchemy import MetaData, literal, select, text, types
from sqlalchemy.exc import SQLAlchemyError

from app.kit.application import build_app, load_app
from app.kit.db.database import Database
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import classify
from app.kit.db.sessions import ReadOnlySessionError
from app.kit.errors import DomainError
from app.kit.settings import KitSettings as Settings
from app.kit.web.transaction import ReadSession, WriteSession
from tests.kit.application import create_app, make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import unreachable_url
from tests.kit.probe import Probe, add_probes, add_route

LEAKS = re.compile(r"sql|select|insert|probes|traceback|asyncpg|secret|psycopg|driver", re.I)
JSON = {"Content-Type": "application/json"}


def assert_problem(response: Response, status: int) -> dict[str, Any]:
    """Check what all error responses have in common; return the body."""
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["type"]) == (status, "about:blank")
    assert body["title"]
    assert body["detail"]
    assert not LEAKS.search(body["detail"])
    assert (response.headers.get("Retry-After") == "1") is (status == 503)
    return body


async def test_unknown_path_is_404(client: AsyncClient) -> None:
    for path in ("/", "/api/v1/nothing", "/health/live/"):
        assert_problem(await client.get(path), 404)


async def test_wrong_method_is_405(client: AsyncClient) -> None:
    response = await client.delete("/health/live")

    assert_problem(response, 405)
    assert response.headers["Allow"] == "GET, HEAD"


async def test_absent_row_is_404(probe_client: AsyncClient) -> None:
    body = assert_problem(await probe_client.get("/probes/7"), 404)

    assert body["detail"] == "There is no probe 7."


async def test_conflict_is_409_and_names_no_value(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    await add_probes(probe_database, "confidential")

    response = await probe_client.post("/probes", json={"name": "confidential"})

    assert_problem(response, 409)
    assert "confidential" not in response.text


@pytest.fixture
async def small_client(probe_url: str) -> AsyncIterator[AsyncClient]:
    """A client of an application with a body limit of 1,000 bytes."""
    settings = make_settings(probe_url, max_body_bytes=1000)
    async with running_app(settings) as app, client_of(app) as client:
        yield client


async def test_body_that_declares_too_many_bytes_is_413(small_client: AsyncClient) -> None:
    assert_problem(await small_client.post("/probes", content=b"x" * 1001), 413)


async def test_body_that_turns_out_too_large_is_413(small_client: AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    response = await small_client.post("/probes", content=chunks())

    assert "Content-Length" not in response.request.headers
    assert_problem(response, 413)


async def test_body_of_exactly_the_limit_is_accepted(small_client: AsyncClient) -> None:
    body = b'{"name": "fits"}'.ljust(1000)

    assert (await small_client.post("/probes", content=body, headers=JSON)).status_code == 201


BROKEN = {
    "nothing": b"",
    "broken": b"{",
    "not UTF-8": b'{"name": "\xff"}',
    "NaN": b'{"name": "x", "parent_id": NaN}',
    "Infinity": b'{"name": "x", "parent_id": -Infinity}',
    "a number beyond all bounds": b'{"name": "x", "parent_id": 1e1000000000}',
    "an integer of many digits": b'{"name": "x", "parent_id": ' + b"9" * 5000 + b"}",
    "deeply nested lists": b"[" * 100_000,
    "deeply nested objects": b'{"name":' * 100_000,
    "a list": b"[]",
    "null": b"null",
    "a field of another type": b'{"name": 7}',
    "half a surrogate pair": b'{"name": "\\ud800", "parent_id": "x"}',
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_body_that_is_not_valid_is_422(probe_client: AsyncClient, body: bytes) -> None:
    response = await probe_client.post("/probes", content=body, headers=JSON)

    problem = assert_problem(response, 422)
    assert all(error["field"].startswith("body") for error in problem["errors"])
    assert "999999" not in response.text


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "x"])
async def test_body_of_another_type_is_422(probe_client: AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type}

    response = await probe_client.post("/probes", content=b'{"name": "x"}', headers=headers)

    assert_problem(response, 422)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "\x00"},
        {"name": "\ud800"},
        {"name": "x" * 51},
        {"name": "x", "parent_id": 2**31},
        {"name": "x", "parent_id": 2**63},
        {"name": "x", "parent_id": 10**400},
    ],
    ids=["NUL", "surrogate", "long text", "2**31", "2**63", "10**400"],
)
async def test_value_that_the_database_refuses_is_a_client_error(
    probe_client: AsyncClient, body: dict[str, Any]
) -> None:
    response = await probe_client.post("/probes", content=json.dumps(body), headers=JSON)

    # Some databases accept NUL, or text that is longer than its column.
    assert response.status_code in (201, 409, 422)


async def test_unhandled_error_is_500_without_details(live_probe_app: FastAPI) -> None:
    @add_route(live_probe_app)
    async def crash(session: WriteSession) -> None:
        await session.execute(text("SELECT 'secret' FROM"))

    @add_route(live_probe_app)
    async def divide() -> float:
        return 1 / 0

    transport = ASGITransport(live_probe_app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        for path in ("/crash", "/divide"):
            assert_problem(await client.post(path), 500)


async def test_unreachable_database_is_503(tmp_path: Path) -> None:
    settings = make_settings(
        unreachable_url(tmp_path),
        database_connect_timeout=0.2,
        database_pool_timeout=0.2,
        database_retry_timeout=0.1,
    )
    async with running_app(settings) as app, client_of(app) as client:
        assert_problem(await client.get("/probes"), 503)
        assert_problem(await client.post("/probes", json={"name": "x"}), 503)


async def test_exhausted_pool_is_503(probe_url: str) -> None:
    settings = make_settings(
        probe_url, database_pool_size=1, database_max_overflow=0, database_pool_timeout=0.1
    )
    async with running_app(settings) as app, client_of(app) as client:
        database: Database = app.state.database
        async with database.write() as session, database.read(isolation="SERIALIZABLE") as reading:
            await session.execute(select(Probe))
            await reading.execute(select(Probe))

            assert_problem(await client.post("/probes", json={"name": "x"}), 503)
            assert_problem(await client.get("/probes"), 503)

        assert (await client.post("/probes", json={"name": "x"})).status_code == 201


async def test_missing_table_is_503(live_app: FastAPI) -> None:
    async with live_app.state.database.write() as session:
        await session.execute(text("DROP TABLE probes"))
    async with client_of(live_app) as client:
        body = assert_problem(await client.get("/probes"), 503)

    assert "migrations have not run" in body["detail"]


async def test_writing_through_a_read_session_is_500(live_probe_app: FastAPI) -> None:
    @add_route(live_probe_app)
    async def write_anyway(session: ReadSession) -> None:
        await session.execute(text("DELETE FROM probes"))

    async with client_of(live_probe_app) as client:
        with pytest.raises(ReadOnlySessionError, match="ReadSession"):
            await client.post("/write_anyway")


class TeapotError(DomainError):
    """A domain error with its own status."""

    status = 418


async def test_every_status_has_a_response(live_probe_app: FastAPI) -> None:
    @add_route(live_probe_app, "GET")
    async def raise_status(status: int) -> None:
        raise HTTPException(status, headers={"ETag": '"5"'})

    @add_route(live_probe_app, "GET")
    async def raise_domain_error() -> None:
        raise TeapotError("It is short and stout.")

    async with client_of(live_probe_app) as client:
        for status in (204, 304):
            response = await client.get(f"/raise_status?status={status}")
            assert (response.status_code, response.content) == (status, b"")
            assert response.headers["ETag"] == '"5"'
        for status in (418, 499, 529, 599):
            assert_problem(await client.get(f"/raise_status?status={status}"), status)
        body = assert_problem(await client.get("/raise_domain_error"), 418)

    assert body["detail"] == "It is short and stout."


async def test_object_as_detail_becomes_members_of_the_problem(
    live_probe_app: FastAPI,
) -> None:
    detail = {"detail": "Too poor.", "balance": 30, "since": date(2026, 1, 2), "status": 7}

    @add_route(live_probe_app)
    async def refuse_payment() -> None:
        raise HTTPException(402, detail)

    async with client_of(live_probe_app) as client:
        body = assert_problem(await client.post("/refuse_payment"), 402)

    assert (body["detail"], body["balance"], body["since"]) == ("Too poor.", 30, "2026-01-02")


async def test_validation_errors_are_bounded_in_number_and_size(live_probe_app: FastAPI) -> None:
    @add_route(live_probe_app)
    async def sum_up(numbers: dict[str, list[int]]) -> None: ...

    body = json.dumps({"k" * 1_000_000: ["x"] * 200, "\ud800": ["x"]})
    async with client_of(live_probe_app) as client:
        response = await client.post("/sum_up", content=body, headers=JSON)

    assert len(assert_problem(response, 422)["errors"]) == 100
    assert len(response.content) < 50_000


def test_endpoints_with_the_same_name_are_refused_at_start_up() -> None:
    def create_app(settings: Settings) -> FastAPI:
        routers = APIRouter(), APIRouter()
        for number, router in enumerate(routers):
            router.add_api_route(f"/{number}", lambda: None, name="get_thing")
        return build_app(settings, routers=routers, metadata=MetaData())

    with pytest.raises(SystemExit, match="Two endpoints are named get_thing, in tests"):
        load_app(create_app, Settings)


async def test_openapi_document_suits_generators(client: AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = [op for path in document["paths"].values() for op in path.values()]
    ids = [operation["operationId"] for operation in operations]

    assert document["openapi"].startswith("3.1")
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z_]{0,39}", name) for name in ids)
    assert {"get_liveness", "get_readiness"} <= set(ids)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"environment": "dev"}, 200),
        ({"environment": "prod"}, 404),
        ({"environment": "prod", "docs": True}, 200),
        ({"environment": "dev", "docs": False}, 404),
    ],
)
async def test_docs_are_off_in_prod_by_default(
    migrated_url: str, values: dict[str, Any], status: int
) -> None:
    async with client_of(create_app(make_settings(migrated_url, **values))) as client:
        for path in ("/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == status


async def test_docs_work_without_the_internet(client: AsyncClient) -> None:
    page = (await client.get("/docs")).text

    # The client can reach only the service.
    sources = re.findall(r'(?:src|href)="(.*?)"', page)
    assert len(sources) == 3
    for source in sources:
        assert (await client.get(source)).status_code == 200


async def test_json_that_could_not_be_read_again_is_refused(
    live_probe_database: Database,
) -> None:
    async with live_probe_database.read() as session:
        with pytest.raises(SQLAlchemyError) as refusal:
            await session.scalar(select(literal({"half of a pair": "\ud800"}, types.JSON())))

    assert classify(refusal.value) is ErrorKind.INVALID
