"""Error responses: `application/problem+json` (RFC 9457), and the mapping of exceptions to them.

No response quotes input of the client or messages of the database.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from http.client import responses
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Match
from starlette.websockets import WebSocket, WebSocketState

from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import (
    AmbiguousCommitError,
    DatabaseUnavailableError,
    classify,
    conflicting_columns,
)
from app.kit.db.keyset import InvalidCursorError
from app.kit.errors import DomainError
from app.kit.observability.access_log import request_id, route_template
from app.kit.observability.tracebacks import format_traceback

MEDIA_TYPE = "application/problem+json"
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# Limits: 10,000 items may have 20,000 errors, in fields whose names are 4 MB long.
MAX_FIELD_ERRORS = 100
MAX_TEXT = 200
FAILED = "Internal error; the log has the details."

logger = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]

BY_KIND: dict[ErrorKind, tuple[int, str]] = {
    ErrorKind.UNIQUE: (409, "Already exists."),
    ErrorKind.FOREIGN_KEY: (409, "It refers to something that does not exist, or is referred to."),
    ErrorKind.INVALID: (422, "A value is out of range or violates a constraint."),
    ErrorKind.SERIALIZATION: (503, "Concurrent requests changed the same data; retry later."),
    ErrorKind.VANISHED: (404, "It was deleted by another request."),
    ErrorKind.STALE: (409, "It was changed by another request."),
    ErrorKind.DISCONNECTED: (503, "The database is unavailable; retry later."),
    ErrorKind.UNAVAILABLE: (503, "The database is out of service."),
    ErrorKind.RESOURCE_EXHAUSTED: (503, "The database is overloaded; retry later."),
    ErrorKind.READ_ONLY: (503, "The database accepts no writes at present; retry later."),
    ErrorKind.TIMEOUT: (504, "The database did not respond in time."),
    ErrorKind.SCHEMA: (503, "A table or column is missing; migrations have not run."),
}


class FieldError(BaseModel):
    """A validation error of one field of the request."""

    field: Annotated[str, Field(examples=["body.email"])]
    message: Annotated[str, Field(examples=["Field required"])]


class Problem(BaseModel):
    """An error response."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(examples=["There is no user 5."])]
    errors: list[FieldError] | None = None
    request_id: Annotated[str | None, Field(description="Id to search the log for.")] = None


class ProblemError(DomainError):
    """An error that the web layer raises, with its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, **members: Any
) -> Response:
    """An error response; `members` are further members of the problem.

    503 and 504 carry `Retry-After`, in seconds. Statuses like 304 have no body.
    """
    headers = {**({"Retry-After": "1"} if status in (503, 504) else {}), **(headers or {})}
    if not is_body_allowed_for_status_code(status):
        return Response(None, status, headers)
    members |= {"title": phrase(status), "request_id": request_id.get()}
    body = Problem(status=status, detail=detail, **members)
    return Response(body.model_dump_json(exclude_none=True), status, headers, MEDIA_TYPE)


def phrase(status: int) -> str:
    """The reason phrase of a status code."""
    return responses.get(status, "Unregistered Status")


def install(app: FastAPI) -> None:
    """Register the exception handlers of an application."""
    _add_handler(app, HTTPException, _http_exception)
    _add_handler(app, RequestValidationError, _validation_error)
    _add_handler(app, DomainError, _domain_error)
    _add_handler(app, InvalidCursorError, _invalid_cursor)
    _add_handler(app, AmbiguousCommitError, ambiguous_commit)
    _add_handler(app, SQLAlchemyError, _database_error)
    _add_handler(app, DatabaseUnavailableError, _database_error)
    _add_handler(app, Exception, _unhandled)


def _add_handler(app: FastAPI, error: type[Exception], handle: Handler) -> None:
    async def handle_any(connection: HTTPConnection, error: Exception) -> Response | None:
        if isinstance(connection, Request):
            return await handle(connection, error)
        assert isinstance(connection, WebSocket)
        status = getattr(error, "status", getattr(error, "status_code", 500))
        if status >= 500:
            logger.error("WebSocket %s failed", route_template(connection.scope), exc_info=error)
        # Codes of https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1
        if connection.application_state is not WebSocketState.DISCONNECTED:
            await connection.close(1011 if status >= 500 else 1008, phrase(status))
        return None

    app.add_exception_handler(error, handle_any)  # type: ignore[arg-type]


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, dict(error.headers or {})
    if status == 405:
        headers["Allow"] = ", ".join(filter(lambda method: _takes(request, method), METHODS))
    # Starlette declares `detail` as str, but FastAPI accepts any object.
    detail: Any = error.detail
    if not isinstance(detail, Mapping):
        return problem(status, str(detail) or phrase(status), headers=headers)
    members = {name: detail[name] for name in detail if name not in Problem.model_fields}
    return problem(status, str(detail.get("detail", phrase(status))), headers=headers, **members)


def _takes(request: Request, method: str) -> bool:
    # Starlette's Allow header has the methods of the first matching route only.
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(field=_field(item), message=_shorten(item["msg"].removeprefix("Value error, ")))
        for item in error.errors()[:MAX_FIELD_ERRORS]
    ]
    return problem(422, "The request is not valid; see `errors`.", errors=errors)


def _field(item: Mapping[str, Any]) -> str:
    # For malformed JSON, the rest of the location is a position in the text, not a field.
    location = item["loc"][:1] if item["type"] == "json_invalid" else item["loc"][:MAX_TEXT]
    return _shorten(".".join(_shorten(str(part)) for part in location))


def _shorten(text: str) -> str:
    # A lone surrogate cannot be encoded.
    return text[:MAX_TEXT].encode(errors="replace").decode()


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    return problem(error.status, str(error))


async def _invalid_cursor(request: Request, error: Exception) -> Response:
    return problem(422, str(error))


async def ambiguous_commit(request: Request, error: Exception) -> Response:
    """The response to a request whose commit is ambiguous."""
    _log(request, "lost the connection during COMMIT", ErrorKind.DISCONNECTED)
    return problem(
        503,
        "The connection to the database was lost during COMMIT: the change may have taken effect. "
        "Check whether it did, or retry with an Idempotency-Key.",
    )


async def _database_error(request: Request, error: Exception) -> Response:
    kind = classify(error)
    if kind is None:
        withhold = request.app.state.settings.environment != "dev"
        trace = format_traceback(error, withhold=withhold)
        logger.error("database error of an unknown kind:\n%s", trace)
        return problem(500, FAILED)
    status, detail = BY_KIND[kind]
    if status >= 500:
        _log(request, "failed in the database", kind)
    if kind is ErrorKind.UNIQUE and (columns := conflicting_columns(error)):
        detail = f"Another one has this {' and '.join(columns)} already."
    return problem(status, detail)


def _log(request: Request, what: str, kind: ErrorKind) -> None:
    operation = f"{request.method} {route_template(request.scope)}"
    extra = {"operation": operation, "kind": kind.name}
    logger.warning("%s %s: %s", operation, what, kind.name, extra=extra)


async def _unhandled(request: Request, error: Exception) -> Response:
    return problem(500, FAILED)


# For the OpenAPI document of every operation.
RESPONSE = {
    "description": "An error",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": RESPONSE, "5XX": RESPONSE}
