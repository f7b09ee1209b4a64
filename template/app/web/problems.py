"""Every error answer of the service: `application/problem+json` (RFC 9457), and who gets which.

No answer repeats what the client sent or what the database said.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.db.errors import OutcomeUnknownError, conflicting_columns, kind_of
from app.db.kinds import Kind
from app.errors import ConflictError, NotFoundError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"Retry-After": "1"}
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# A request with 10,000 items may be wrong 20,000 times; nobody reads that.
MAX_FIELD_ERRORS = 100

logger = logging.getLogger(__name__)

BY_KIND: dict[Kind, tuple[int, str]] = {
    Kind.UNIQUE: (409, "It exists already."),
    Kind.FOREIGN_KEY: (409, "It refers to something that does not exist, or is referred to."),
    Kind.INVALID: (422, "A value is out of range or breaks a rule of the data."),
    Kind.SERIALIZATION: (503, "Too many requests change the same data. Try again."),
    Kind.DISCONNECTED: (503, "The database is away. Try again."),
    Kind.UNAVAILABLE: (503, "The database is out of order."),
    Kind.SATURATED: (503, "The database is busy. Try again."),
    Kind.READ_ONLY: (503, "The database takes no writes at present. Try again."),
    Kind.TIMEOUT: (504, "The database took too long."),
    Kind.SCHEMA: (503, "The database lacks a table or column; its migrations have not run."),
}


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error answer."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


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
    """An error answer; 503 carries `Retry-After`, in seconds."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return JSONResponse(
        body.model_dump(exclude_none=True),
        status,
        {**(RETRY_AFTER if status == 503 else {}), **(headers or {})},
        MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Give the application its error answers."""
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ProblemError, _problem_error)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(ConflictError, _conflict)
    app.add_exception_handler(OutcomeUnknownError, outcome_unknown)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(Exception, _bug)
    _add_schema(app)


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


async def _not_found(request: Request, error: Exception) -> JSONResponse:
    return problem(404, str(error))


async def _conflict(request: Request, error: Exception) -> JSONResponse:
    return problem(409, str(error))


async def outcome_unknown(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request of which nobody knows whether it was done."""
    return problem(
        503,
        "The connection to the database was lost during COMMIT: the change may or may not have "
        "happened. Look, or send an Idempotency-Key and repeat.",
    )


async def _database_error(request: Request, error: Exception) -> JSONResponse:
    kind = kind_of(error)
    if kind is None:
        return await _bug(request, error)
    status, detail = BY_KIND[kind]
    if status >= 500:
        logger.warning("%s %s: database %s", request.method, request.url.path, kind.name)
    if kind is Kind.UNIQUE and (columns := conflicting_columns(error)):
        detail = f"Another one has this {' and '.join(columns)} already."
    return problem(status, detail)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    return problem(500, "The service failed; its log tells why.")


# For the OpenAPI document: every operation may answer with a problem.
_RESPONSE = {
    "description": "An error",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": _RESPONSE, "5XX": _RESPONSE}


def _add_schema(app: FastAPI) -> None:
    # The framework would do it for answers of application/json only.
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"].update(schema.pop("$defs"), Problem=schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
