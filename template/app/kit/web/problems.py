"""Every error answer of the service: `application/problem+json` (RFC 9457), and who gets which.

No answer retries what the client sent or what the database said.
"""

import logging
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import (
    AmbiguousCommitError,
    DatabaseUnavailableError,
    classify,
    conflicting_columns,
    exception_chain,
)
from app.kit.db.keyset import InvalidCursorError
from app.kit.errors import DomainError
from app.kit.observability.access_log import request_id, route_template

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "1"}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# A request with 10,000 items may be wrong 20,000 times; nobody reads that.
MAX_FIELD_ERRORS = 100
FAILED = "The service failed; its log tells why."

logger = logging.getLogger(__name__)

BY_KIND: dict[ErrorKind, tuple[int, str]] = {
    ErrorKind.UNIQUE: (409, "It exists already."),
    ErrorKind.FOREIGN_KEY: (409, "It refers to something that does not exist, or is referred to."),
    ErrorKind.INVALID: (422, "A value is out of range or breaks a rule of the data."),
    ErrorKind.SERIALIZATION: (503, "Too many requests change the same data. Try again."),
    ErrorKind.VANISHED: (404, "It was deleted by another request."),
    ErrorKind.STALE: (409, "It was changed by another request."),
    ErrorKind.DISCONNECTED: (503, "The database is away. Try again."),
    ErrorKind.UNAVAILABLE: (503, "The database is out of order."),
    ErrorKind.RESOURCE_EXHAUSTED: (503, "The database is busy. Try again."),
    ErrorKind.READ_ONLY: (503, "The database takes no writes at present. Try again."),
    ErrorKind.TIMEOUT: (504, "The database took too long."),
    ErrorKind.SCHEMA: (503, "The database lacks a table or column; its migrations have not run."),
}


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    field: Annotated[str, Field(examples=["body.email"])]
    message: Annotated[str, Field(examples=["Field required"])]


class Problem(BaseModel):
    """An error answer."""

    type: str = "about:blank"
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(examples=["There is no user 5."])]
    errors: list[FieldError] | None = None
    request_id: Annotated[str | None, Field(description="What to search the log for.")] = None


class ProblemError(Exception):
    """Raised by the web layer to answer with a problem."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def problem(
    status: int,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error answer; 503 and 504 carry `Retry-After`, in seconds."""
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=errors,
        request_id=request_id.get(),
    )
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status,
        {**(RETRY_AFTER if status in (503, 504) else {}), **(headers or {})},
        MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Give the application its error answers."""
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ProblemError, _problem_error)
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(InvalidCursorError, _invalid_cursor)
    app.add_exception_handler(AmbiguousCommitError, ambiguous_commit)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(DatabaseUnavailableError, _database_error)
    app.add_exception_handler(Exception, _unhandled)


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(filter(lambda method: _takes(request, method), METHODS))
    return problem(error.status_code, str(error.detail), headers=headers)


def _takes(request: Request, method: str) -> bool:
    # The framework asks the first route of a path alone, but each method is a route of its own.
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldError(field=_field(item), message=_message(item))
        for item in error.errors()[:MAX_FIELD_ERRORS]
    ]
    return problem(422, "The request is not valid; `errors` says where.", errors=errors)


def _field(item: Mapping[str, Any]) -> str:
    # Broken JSON has no fields: what follows in its location is a position in the text.
    location = item["loc"][:1] if item["type"] == "json_invalid" else item["loc"]
    return ".".join(map(str, location))


def _message(item: Mapping[str, Any]) -> str:
    return str(item["msg"]).removeprefix("Value error, ")


async def _problem_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return problem(error.status, error.detail)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError)
    return problem(error.status, str(error))


async def _invalid_cursor(request: Request, error: Exception) -> JSONResponse:
    return problem(422, str(error))


async def ambiguous_commit(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request of which nobody knows whether it was done."""
    _log(request, "lost the connection during COMMIT", ErrorKind.DISCONNECTED)
    return problem(
        503,
        "The connection to the database was lost during COMMIT: the change may or may not have "
        "happened. Look, or send an Idempotency-Key and repeat.",
    )


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    kind = classify(error)
    if kind is None:
        # Not the error itself: the driver's message may quote what was to be stored.
        frames = "".join(traceback.format_tb(error.__traceback__))
        names = " from ".join(type(cause).__qualname__ for cause in exception_chain(error))
        logger.error("a database error of no known kind, %s, at\n%s", names, frames)
        return problem(500, FAILED)
    status, detail = BY_KIND[kind]
    if status >= 500:
        _log(request, "failed at the database", kind)
    if kind is ErrorKind.UNIQUE and (columns := conflicting_columns(error)):
        detail = f"Another one has this {' and '.join(columns)} already."
    return problem(status, detail)


def _log(request: Request, what: str, kind: ErrorKind) -> None:
    operation = f"{request.method} {route_template(request.scope)}"
    extra = {"operation": operation, "kind": kind.name}
    logger.warning("%s %s: %s", operation, what, kind.name, extra=extra)


async def _unhandled(request: Request, error: Exception) -> JSONResponse:
    return problem(500, FAILED)


# For the OpenAPI document: every operation may answer with a problem.
RESPONSE = {
    "description": "An error",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": RESPONSE, "5XX": RESPONSE}
