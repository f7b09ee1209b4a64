"""Free-form JSON is what it is everywhere in Python: a fractional number is a float."""

from typing import Any

import pytest
from httpx2 import AsyncClient

API = "/api/v1"
NUMBERS: dict[str, Any] = {
    "ratio": 1.5,
    "third": 0.1,
    "smallest": 5e-324,
    "largest": 1.7976931348623157e308,
    "negative": -0.25,
    "whole": 2.0,
    "integer": 2**70,
}
JSON = {"Content-Type": "application/json"}


async def test_fractional_numbers_are_stored(client: AsyncClient) -> None:
    created = await client.post(f"{API}/documents", json={"title": "x", "facts": {"n": NUMBERS}})

    assert created.status_code == 201
    assert created.json()["facts"] == {"n": NUMBERS}
    read = await client.get(f"{API}/documents/{created.json()['id']}")
    assert read.json() == created.json()


@pytest.mark.parametrize("value", [1.5, [0.1, {"a": -2.25}], NUMBERS])
async def test_fractional_numbers_are_echoed(client: AsyncClient, value: Any) -> None:
    echoed = await client.post(f"{API}/echo", json={"value": value})
    raw = await client.post(f"{API}/echo/raw", json=value)

    assert (echoed.status_code, echoed.json()) == (200, value)
    assert (raw.status_code, raw.json()) == (200, value)


async def test_number_with_more_digits_than_a_float_has_is_the_nearest(client: AsyncClient) -> None:
    text = '{"title": "x", "facts": {"n": 0.10, "m": 3.14159265358979323846264338327950288}}'

    created = await client.post(f"{API}/documents", content=text, headers=JSON)

    assert created.status_code == 201
    assert created.json()["facts"] == {"n": 0.1, "m": 3.141592653589793}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
async def test_what_no_float_can_hold_is_refused(client: AsyncClient, text: str) -> None:
    refused = await client.post(f"{API}/echo", content=f'{{"value": [{text}]}}', headers=JSON)

    assert refused.status_code == 422
