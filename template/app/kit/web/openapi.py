"""The OpenAPI document, of which clients are generated.

The framework writes most of it from signatures and models. This adds what those do not say: which
errors a route may answer, and headers that are the same everywhere.
"""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from app.kit.web import idempotency, problems
from app.kit.web.transaction import TransactionalRoute, options_of

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "What to search the log for: the id that was sent, or a new one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "After how many seconds to try again.",
        "schema": {"type": "integer"},
    },
    "Idempotency-Replayed": {
        "description": "`true`: the answer was given before, to a request with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "name": idempotency.HEADER,
    "in": "header",
    "description": "Choose a new one for each thing to be done. Repeated with the same key within "
    "24 hours, it is done once, and the first answer is given again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def install(app: FastAPI) -> None:
    """Complete the document of an application."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate(), app)
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], app: FastAPI) -> None:
    components = document.setdefault("components", {})
    # The framework would add models of answers that are application/json only.
    problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(problem.pop("$defs"), Problem=problem)
    components["headers"] = HEADERS
    components["parameters"] = {idempotency.HEADER: IDEMPOTENCY_KEY}
    for route in iter_route_contexts(app.routes):
        for operation in _operations(document, route):
            _complete_operation(operation, route)


def _operations(document: dict[str, Any], route: RouteContext) -> Iterator[dict[str, Any]]:
    path = document["paths"].get(route.path_format, {})
    return (path[method.lower()] for method in route.methods or () if method.lower() in path)


def _complete_operation(operation: dict[str, Any], route: RouteContext) -> None:
    responses = operation["responses"]
    transactional = isinstance(route.original_route, TransactionalRoute)
    if transactional and _takes_keys(route):
        parameter = {"$ref": f"#/components/parameters/{idempotency.HEADER}"}
        operation.setdefault("parameters", []).append(parameter)
        for status, response in responses.items():
            if status.startswith("2"):
                _add_header(response, "Idempotency-Replayed")
    for status in _errors(operation, route, transactional):
        description = HTTPStatus(status).phrase
        responses.setdefault(str(status), {**problems.RESPONSE, "description": description})
    for status, response in responses.items():
        _add_header(response, "X-Request-ID")
        if status in ("503", "504") and transactional:
            _add_header(response, "Retry-After")
    operation["responses"] = dict(sorted(responses.items()))


def _takes_keys(route: RouteContext) -> bool:
    methods = route.methods or set()
    return methods <= idempotency.METHODS and options_of(route.endpoint).idempotency_key


def _errors(operation: dict[str, Any], route: RouteContext, transactional: bool) -> Iterator[int]:
    """The statuses of errors that a route may answer, besides what goes wrong everywhere."""
    writes = transactional and route.methods != {"GET"}
    if "{" in (route.path_format or ""):
        yield 404
    if writes:
        yield 409
    if "requestBody" in operation:
        yield 413
    if operation.get("parameters") or "requestBody" in operation:
        yield 422
    if transactional:
        yield 503
        yield 504


def _add_header(response: dict[str, Any], name: str) -> None:
    reference = {"$ref": f"#/components/headers/{name}"}
    response["headers"] = {**response.get("headers", {}), name: reference}
