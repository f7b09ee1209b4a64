"""The OpenAPI document: what generated clients are made of."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.main import create_app
from app.settings import DEFAULT_URL
from tests.conftest import make_settings

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
        # The framework's own shape of a 422, which is not ours.
        assert "422" not in operation["responses"]
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
