"""The log: one line per request, request ids, and no secrets."""

import asyncio
import json
import logging
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI
from httpx2 import ASGITransport, AsyncClient
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.answers import DEFAULT_URL
from app.kit.db.error_kinds import ErrorKind
from app.kit.observability.access_log import request_id
from app.kit.observability.logs import JSONFormatter, RemoveQuery, TextFormatter, logging_config
from app.kit.observability.tracebacks import WITHHELD
from app.kit.web.transaction import WriteSession
from tests.kit import probe
from tests.kit.application import create_app, make_settings, running_app
from tests.kit.clients import client_of
from tests.kit.faults import unreachable_url
from tests.kit.probe import Probe
from tests.kit.server_runs import COMMANDS, SECRET, ServerRun


def access_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The access log records."""
    return [vars(record) for record in caplog.records if record.name == "app.access"]


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="app")


async def test_every_request_has_an_id_of_its_own(client: AsyncClient) -> None:
    ids = {(await client.get("/health/live")).headers["x-request-id"] for _ in range(3)}

    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", identifier) for identifier in ids)


@pytest.mark.parametrize(
    "given", ["1", "a" * 128, "Root=1-67891233-abcdef01", "8f14e45f-ceea-4c1d"]
)
async def test_id_of_the_client_is_used_and_returned(client: AsyncClient, given: str) -> None:
    response = await client.get("/nowhere", headers={"X-Request-ID": given})

    assert response.headers.get_list("x-request-id") == [given]
    assert response.json()["request_id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "a\tb", '"', "{}", "<b>"])
async def test_invalid_id_is_replaced(client: AsyncClient, given: str) -> None:
    response = await client.get("/nowhere", headers={"X-Request-ID": given})

    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_request_is_logged_in_one_line_without_client_input(
    client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await client.get(f"/health/live?token={SECRET}", headers={"Authorization": SECRET})
    await client.get(f"/{SECRET}")

    known, unknown = access_lines(caplog)
    assert (known["method"], known["route"], known["status"]) == ("GET", "/health/live", 200)
    assert known["bytes"] == len('{"status":"ok"}')
    assert 0 < known["duration_ms"] < 10_000
    assert (unknown["route"], unknown["status"]) == (None, 404)
    assert SECRET not in caplog.text


async def test_route_is_named_with_its_prefix_and_without_values(
    probe_client: AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    await probe_client.get("/probes/5")
    await probe_client.get("/probes/6")
    await probe_client.put("/probes")

    lines = [(line["method"], line["route"], line["status"]) for line in access_lines(caplog)]
    assert lines == [
        ("GET", "/probes/{probe_id}", 404),
        ("GET", "/probes/{probe_id}", 404),
        ("PUT", "/probes", 405),
    ]


async def test_failure_is_logged_and_returned_with_its_id(
    live_probe_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []

    @probe.add_route(live_probe_app)
    async def fail_at_work() -> None:
        seen.append(request_id.get())
        raise LookupError

    transport = ASGITransport(live_probe_app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.post("/fail_at_work", headers={"X-Request-ID": "mine"})

    assert response.status_code == 500
    assert seen == ["mine"]
    assert response.headers.get_list("x-request-id") == ["mine"]
    assert response.json()["request_id"] == "mine"
    assert [line["status"] for line in access_lines(caplog)] == [500]


async def test_database_error_is_logged_with_operation_and_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings(
        unreachable_url(tmp_path), database_connect_timeout=0.2, database_retry_timeout=0
    )
    async with running_app(settings) as app, client_of(app) as client:
        response = await client.get(f"/probes/5?token={SECRET}")

    assert response.status_code == 503
    logged = [vars(record) for record in caplog.records if record.name == "app.kit.web.problems"]
    assert [line["operation"] for line in logged] == ["GET /probes/{probe_id}"]
    assert logged[0]["kind"] in ErrorKind.__members__
    assert SECRET not in caplog.text


async def test_database_error_of_no_known_kind_is_logged_without_its_values(
    live_probe_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    @probe.add_route(live_probe_app)
    async def meet_a_new_error(session: WriteSession) -> None:
        await session.execute(text("SELECT 1"))
        raise IntegrityError("INSERT", None, Exception(f"DETAIL: Key ({SECRET}) exists"))

    async with client_of(live_probe_app) as client:
        response = await client.post("/meet_a_new_error")

    assert response.status_code == 500
    assert response.headers.get_list("x-request-id") == [response.json()["request_id"]]
    assert f"sqlalchemy.exc.IntegrityError: {WITHHELD}" in caplog.text
    assert "in meet_a_new_error" in caplog.text
    assert SECRET not in caplog.text


class Account(BaseModel):
    """A response."""

    balance: int


class DatabaseError(Exception):
    """An error that a driver raises."""


async def fail_to_store() -> None:
    cause = DatabaseError(f"DETAIL: Key ({SECRET}) exists")
    raise IntegrityError("INSERT", None, cause) from cause


async def raise_from_database_error() -> None:
    try:
        await fail_to_store()
    except IntegrityError as error:
        raise LookupError("not stored") from error


async def raise_in_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_to_store())


async def raise_in_background(background: BackgroundTasks) -> None:
    background.add_task(fail_to_store)


async def raise_drivers_error() -> None:
    raise DatabaseError(SECRET)


async def return_password() -> Account:
    return {"password": SECRET}  # type: ignore[return-value]


async def validate_password() -> None:
    Account.model_validate({"balance": SECRET})


async def misuse_session() -> None:
    row = Probe(id=1, name=SECRET)
    AsyncSession().add(row)
    AsyncSession().add(row)


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        (raise_from_database_error, f"sqlalchemy.exc.IntegrityError: {WITHHELD}"),
        (raise_from_database_error, "LookupError: not stored"),
        (raise_in_task_group, f"sqlalchemy.exc.IntegrityError: {WITHHELD}"),
        (raise_in_background, f"sqlalchemy.exc.IntegrityError: {WITHHELD}"),
        (raise_drivers_error, f"DatabaseError: {WITHHELD}"),
        (return_password, "ResponseValidationError: response.balance: missing"),
        (validate_password, "ValidationError: balance: int_parsing"),
        (misuse_session, "is already attached to session"),
    ],
)
async def test_traceback_shows_no_values_but_messages_of_libraries(
    migrated_url: str, endpoint: Any, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(make_settings(migrated_url))
    app.add_api_route("/fail", endpoint)

    async with client_of(app) as client:
        try:
            await client.get("/fail")
        except Exception as error:
            # This is what servers do.
            logging.getLogger("uvicorn.error").exception("failed", exc_info=error)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]

    for formatter in (JSONFormatter(), TextFormatter()):
        [line] = map(formatter.format, errors)
        assert shown in line
        assert SECRET not in line


def test_traceback_in_development_shows_all() -> None:
    record = logging.makeLogRecord({})
    try:
        raise DatabaseError("no such column")
    except DatabaseError as error:
        record.exc_info = (type(error), error, error.__traceback__)

    assert "DatabaseError: no such column" in TextFormatter(withhold=False).format(record)


def test_extra_becomes_fields_of_the_line() -> None:
    extra = {"n": 5, "when": date(2026, 1, 2), "what": object(), "x": {"y": float("inf")}}
    record = logging.makeLogRecord({"name": "app", "msg": "%s é", "args": ("a",), **extra})

    line = json.loads(JSONFormatter().format(record))

    assert (line["logger"], line["message"], line["n"]) == ("app", "a é", 5)
    assert (line["when"], line["x"]) == ("2026-01-02", {"y": "Infinity"})
    assert line["what"].startswith("<object object")
    assert line.keys() == {"time", "level", "logger", "message", *extra}


@pytest.mark.parametrize("value", ["\ud800", b"\xff"])
def test_line_is_logged_with_any_extra(value: object) -> None:
    record = logging.makeLogRecord({"name": "app", "msg": "%s", "args": (value,), "extra": value})

    assert json.loads(JSONFormatter().format(record))["logger"] == "app"


def test_query_of_a_websocket_is_not_logged() -> None:
    config = logging_config(make_settings(str(DEFAULT_URL)))
    args = ("127.0.0.1:5", f"/events?access_token={SECRET}", 403)
    record = logging.makeLogRecord({"msg": '%s - "WebSocket %s" %d', "args": args})

    assert config["loggers"]["uvicorn.error"]["filters"] == ["remove_query"]
    assert RemoveQuery().filter(record)
    assert record.getMessage() == '127.0.0.1:5 - "WebSocket /events" 403'


async def test_router_under_two_prefixes_is_logged_by_its_route(
    live_app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    for prefix in ("/one", "/two/{name}"):
        live_app.include_router(probe.router, prefix=prefix)
    async with client_of(live_app) as client:
        await client.get("/one/probes/x")
        await client.get("/two/a/probes/y")

    routes = [line["route"] for line in access_lines(caplog)]
    assert routes == ["/one/probes/{probe_id}", "/two/{name}/probes/{probe_id}"]


def logged(output: str) -> list[dict[str, Any]]:
    """The lines that are JSON."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("command", COMMANDS)
def test_request_is_logged_once_whatever_starts_the_server(
    command: str, server_runs: dict[str, ServerRun]
) -> None:
    output = server_runs[command].output
    requests = [line for line in logged(output) if line["logger"] == "app.access"]

    assert [line["status"] for line in requests if line["route"] is None] == [404]
    assert [line["request_id"] for line in requests if line["route"] == "/probes"] == ["mine"]
    assert len(re.findall("^.*(?:/health/|/probes)", output, re.MULTILINE)) == len(requests) - 1
    assert "nowhere" not in output
    assert SECRET not in output


@pytest.mark.parametrize("command", COMMANDS)
def test_log_lines_of_the_server_have_the_same_format(
    command: str, server_runs: dict[str, ServerRun]
) -> None:
    output = server_runs[command].output
    lines = logged(output)

    assert [line["level"] for line in lines if "Invalid HTTP" in line["message"]] == ["WARNING"]
    assert "Shutting down" in {line["message"] for line in lines}
    if command.startswith("python -m app"):
        assert len(lines) == len(output.splitlines()), output


@pytest.mark.parametrize("command", COMMANDS)
def test_statements_are_logged_once_with_the_id_of_their_request(
    command: str, server_runs: dict[str, ServerRun]
) -> None:
    lines = logged(server_runs[command].output)
    mine = [line for line in lines if line.get("request_id") == "mine"]

    statements = [line["message"] for line in mine if line["message"].startswith("SELECT")]
    assert statements
    assert len(statements) == len(set(statements))
