"""The OpenAPI document: what generated clients are made of."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from app.example.items.schemas import ItemCreate
from app.example.transfers.schemas import TransferCreate
from app.example.users.schemas import UserCreate
from app.kit.answers import DEFAULT_URL
from app.main import create_app
from tests.kit.fixtures import make_settings

OPERATIONS = {
    "add_favorite",
    "create_item",
    "create_items",
    "create_transfer",
    "create_user",
    "delete_item",
    "delete_user",
    "get_item",
    "get_transfer",
    "get_user",
    "list_favorites",
    "list_items",
    "list_items_of_user",
    "list_users",
    "remove_favorite",
    "update_item",
    "update_user",
}


@pytest.fixture
def document() -> dict[str, Any]:
    """The document of the service, which needs no database."""
    return create_app(make_settings(str(DEFAULT_URL))).openapi()


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every operation in a document."""
    for path in document["paths"].values():
        yield from path.values()


def test_operation_ids_are_short_verbs_and_stay(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document)]

    assert set(ids) >= OPERATIONS
    assert len(ids) == len(set(ids))
    assert max(map(len, ids)) <= 40


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))

    assert document["openapi"].startswith("3.1")
    assert names <= document["components"]["schemas"].keys()


def test_errors_are_documented_as_the_problems_that_they_are(document: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

    for operation in operations(document):
        assert operation["responses"]["4XX"]["content"] == problem
        assert operation["responses"]["5XX"]["content"] == problem
        # The framework's own shape of a 422 is not ours.
        assert operation["responses"].get("422", {}).get("content", problem) == problem
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_money_is_documented_as_text(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["UserRead"]["properties"]["balance"]["type"] == "string"
    accepted = schemas["ItemCreate"]["properties"]["price"]["anyOf"]
    assert {kind["type"] for kind in accepted} == {"number", "string"}


def test_patches_require_nothing_and_accept_null_only_where_it_can_be_stored(
    document: dict[str, Any],
) -> None:
    for name, nullable in (("UserUpdate", set()), ("ItemUpdate", {"description", "user_id"})):
        schema = document["components"]["schemas"][name]
        assert "required" not in schema
        found = {
            field
            for field, value in schema["properties"].items()
            if {"type": "null"} in value.get("anyOf", [])
        }
        assert found == nullable


def test_each_operation_names_the_errors_that_a_client_has_to_expect(
    document: dict[str, Any],
) -> None:
    errors = {
        operation["operationId"]: {int(s) for s in operation["responses"] if s[1:].isdigit()}
        for operation in operations(document)
    }

    assert errors["get_user"] == {200, 404, 422, 503, 504}
    assert errors["list_users"] == {200, 422, 503, 504}
    assert errors["create_user"] == {201, 409, 413, 422, 503, 504}
    assert errors["update_user"] == {200, 404, 409, 413, 422, 503, 504}
    assert errors["delete_item"] == {204, 404, 409, 422, 503, 504}
    assert errors["get_liveness"] == {200}
    assert errors["get_readiness"] == {200, 503}


def test_headers_are_documented(document: dict[str, Any]) -> None:
    for path in document["paths"].values():
        for method, operation in path.items():
            answers = operation["responses"]
            assert all("X-Request-ID" in answer["headers"] for answer in answers.values())
            keys = {"$ref": "#/components/parameters/Idempotency-Key"}
            assert (keys in operation.get("parameters", [])) is (method in ("post", "patch"))
            if operation["operationId"] in ("create_user", "create_item", "create_transfer"):
                assert "Location" in answers["201"]["headers"]
            if operation["operationId"] in OPERATIONS:
                assert "Retry-After" in answers["503"]["headers"]
                assert "Retry-After" in answers["504"]["headers"]


def test_ids_are_documented_as_what_they_are(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = {
        f"{name}.{field}": kind.get("format")
        for name, schema in schemas.items()
        for field, value in schema.get("properties", {}).items()
        for kind in value.get("anyOf", [value])
        if (field == "id" or field.endswith("user_id")) and kind.get("type") == "integer"
    }

    assert len(found) > 8
    assert set(found.values()) == {"int64"}


def test_pages_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = document["components"]["schemas"].keys()

    assert all(re.fullmatch("[A-Za-z]+", name) for name in names)
    # Your features have pages, too.
    assert {"ItemPage", "UserPage"} <= names


@pytest.mark.parametrize("model", [UserCreate, ItemCreate, TransferCreate])
def test_examples_of_requests_are_valid(model: type[BaseModel], document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"][model.__name__]
    fields: dict[str, Any] = schema["properties"]
    example = {name: field["examples"][0] for name, field in fields.items() if "examples" in field}

    assert example.keys() >= set(schema["required"])
    assert model.model_validate_json(json.dumps(example))
