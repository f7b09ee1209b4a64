"""Additions to FastAPI's OpenAPI document: the errors of each operation, and common headers."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from app.kit.web import idempotency, problems
from app.kit.web.transaction import TransactionalRoute


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": schema}


HEADERS = {
    "X-Request-ID": _header("Request id, to search the log for.", type="string"),
    "Retry-After": _header("Seconds after which to retry.", type="integer"),
    "Idempotency-Replayed": _header(
        "`true`: the stored response to an earlier request.", type="string", enum=["true"]
    ),
}
IDEMPOTENCY_KEY = {"name": idempotency.HEADER, "in": "header"} | _header(
    "A unique key for each operation. A retry with the same key within 24 hours has no effect "
    "and returns the first response.",
    **{"type": "string", "minLength": 1, "maxLength": 255},
)


class DuplicateNameError(Exception):
    """Two endpoints have the same name; the message names both modules."""


def check_names(app: FastAPI) -> None:
    """Check that no two endpoints have the same name.

    Raises:
        DuplicateNameError: Two endpoints have the same name, so operation ids are ambiguous.
    """
    endpoints: dict[Any, Any] = {}
    for route in iter_route_contexts(app.routes):
        first = endpoints.setdefault(route.name, route.endpoint)
        if route.name is not None and first is not route.endpoint:
            modules = f"{first.__module__} and {getattr(route.endpoint, '__module__', None)}"
            raise DuplicateNameError(
                f"Two endpoints are named {route.name}, in {modules}. Rename one: generated "
                "clients and Location headers need unique names."
            )


def install(app: FastAPI) -> None:
    """Add the headers and error responses to the document of an application."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        components = document.setdefault("components", {})
        if "headers" not in components:
            # By `responses=`, FastAPI would document problems as application/json.
            schema = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            components.setdefault("schemas", {}).update(schema.pop("$defs"), Problem=schema)
            components["headers"] = HEADERS
            components["parameters"] = {idempotency.HEADER: IDEMPOTENCY_KEY}
            for route in iter_route_contexts(app.routes):
                path = document["paths"].get(route.path_format, {})
                for method in path.keys() & {name.lower() for name in route.methods or ()}:
                    _complete(path[method], method, route)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], method: str, route: RouteContext) -> None:
    responses: dict[str, Any] = operation["responses"]
    transactional = isinstance(route.original_route, TransactionalRoute)
    idempotent = transactional and _takes_keys(route)
    if idempotent:
        key = {"$ref": f"#/components/parameters/{idempotency.HEADER}"}
        operation.setdefault("parameters", []).append(key)
    has_body = "requestBody" in operation
    possible = {
        404: "{" in (route.path_format or ""),
        409: transactional and method != "get",
        413: has_body,
        422: has_body or "parameters" in operation,
        503: transactional,
        504: transactional,
    }
    for status in filter(possible.get, possible):
        response = {**problems.RESPONSE, "description": problems.phrase(status)}
        responses.setdefault(str(status), response)
    for code, response in responses.items():
        present = {
            "X-Request-ID": True,
            "Retry-After": transactional and code in ("503", "504"),
            "Idempotency-Replayed": idempotent and code.startswith("2"),
        }
        for name in filter(present.get, present):
            reference = {"$ref": f"#/components/headers/{name}"}
            response["headers"] = {**response.get("headers", {}), name: reference}
    operation["responses"] = dict(sorted(responses.items()))


def _takes_keys(route: RouteContext) -> bool:
    original = route.original_route
    return isinstance(original, TransactionalRoute) and original.takes_idempotency_key
