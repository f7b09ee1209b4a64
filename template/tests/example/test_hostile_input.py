"""Whatever clients send: it is never a 5xx, errors are problems, and nothing poisonous is stored.

What most of these do to a service that trusts its framework: NUL, half surrogates and numbers of
more than 64 bits reach the driver, NaN reaches the answer, 1e1000000000 takes hours to convert.
"""

import pytest
from httpx2 import AsyncClient, Response

from tests.example.api import API, Json, create_item, create_user, walk, wrong_fields

JSON = {"Content-Type": "application/json"}

# Every operation with a body, and a body that it would take.
BODIES = [
    ("POST", "/users", '{{"username": {0}, "email": "a@b.de"}}'),
    ("POST", "/users", '{{"username": "a", "email": {0}}}'),
    ("POST", "/users", '{{"username": "a", "email": "a@b.de", "balance": {0}}}'),
    ("PATCH", "/users/{user}", '{{"username": {0}}}'),
    ("POST", "/items", '{{"name": {0}, "price": 1}}'),
    ("POST", "/items", '{{"name": "a", "price": 1, "description": {0}}}'),
    ("POST", "/items", '{{"name": "a", "price": {0}}}'),
    ("POST", "/items", '{{"name": "a", "price": 1, "user_id": {0}}}'),
    ("PATCH", "/items/{item}", '{{"name": {0}, "description": {0}}}'),
    ("PATCH", "/items/{item}", '{{"user_id": {0}}}'),
    ("POST", "/items/bulk", '[{{"name": {0}, "price": 1}}, {{"name": "a", "price": {0}}}]'),
    ("POST", "/transfers", '{{"from_user_id": {0}, "to_user_id": {user}, "amount": 1}}'),
    ("POST", "/transfers", '{{"from_user_id": {user}, "to_user_id": {0}, "amount": 1}}'),
    ("POST", "/transfers", '{{"from_user_id": {user}, "to_user_id": {other}, "amount": {0}}}'),
]
OPERATIONS = list(dict.fromkeys((method, path) for method, path, _ in BODIES))
VALUES = {
    "null": "null",
    "true": "true",
    "empty list": "[]",
    "empty object": "{}",
    "operator": '{"$gt": ""}',
    "NUL": r'"\u0000"',
    "NUL inside": r'"a\u0000b"',
    "high surrogate": r'"\ud800"',
    "low surrogate": r'"a\udfff"',
    "swapped surrogates": r'"\udc00\ud800"',
    "whole surrogate pair": r'"\ud83d\ude00"',
    "no character": r'"\uffff"',
    "right to left": r'"\u202etxt.exe"',
    "combining marks": '"a' + r"\u0301" * 40 + '"',
    "line breaks": r'"a\r\nSet-Cookie: b=c"',
    "SQL": '"\' OR 1=1; DROP TABLE users; --"',
    "percent": '"%s%(a)s{0}%00"',
    "very long text": '"' + "x" * 100_000 + '"',
    "NaN": "NaN",
    "Infinity": "Infinity",
    "minus Infinity": "-Infinity",
    "NaN as text": '"NaN"',
    "signaling NaN as text": '"sNaN"',
    "Infinity as text": '"-Infinity"',
    "beyond floats": "1e400",
    "beyond floats as text": '"1e400"',
    "beyond memory": "1e1000000000",
    "below memory": "1e-1000000000",
    "beyond memory as text": '"1e1000000000"',
    "beyond decimals": "1e10000000000000000000",
    "zero with a huge exponent": "0e999999999999999999",
    "minus zero": "-0.0",
    "32 bits": "2147483648",
    "64 bits": "9223372036854775808",
    "below 64 bits": "-9223372036854775809",
    "128 bits": "340282366920938463463374607431768211456",
    "4,300 digits": "9" * 4300,
    "5,000 digits": "9" * 5000,
    "5,000 digits as text": '"' + "9" * 5000 + '"',
    "many decimals": "1." + "1" * 100_000,
    "many zeros": "1." + "0" * 100_000,
    "thirty decimals": '"1.000000000000000000000000000001"',
    "other digits": r'"\u0661\u0662"',
    "wide digits": r'"\uff11\uff12"',
    "underscore": '"1_0"',
    "hexadecimal": '"0x10"',
    "spaces": '" 1 "',
    "nesting": "[" * 900 + "]" * 900,
}
CONTENTS = {
    "empty": b"",
    "space": b" ",
    "null": b"null",
    "text": b'"text"',
    "number": b"1",
    "list": b"[]",
    "list in a list": b"[[]]",
    "object": b"{}",
    "half an object": b'{"username": ',
    "two objects": b"{}{}",
    "comma too many": b'{"username": "a",}',
    "single quotes": b"{'username': 'a'}",
    "comment": b"{} // none",
    "unknown fields": b'{"id": 1, "created_at": "now", "__proto__": {}}',
    "key twice": b'{"username": "a", "username": null, "name": 1, "name": "\\u0000"}',
    "NUL": b"\x00",
    "broken UTF-8": b'{"username": "\xff"}',
    "UTF-8 surrogate": b'{"username": "\xed\xa0\x80", "email": "a@b.de"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"username": "a"}'.encode("utf-16"),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "many numbers": b"[" + b"0," * 200_000 + b"0]",
    "10,001 rows": b"[" + b'{"name":"a","price":1},' * 10_000 + b"{}]",
}
CONTENT_TYPES = [
    "",
    "text/plain",
    "application/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/json; charset=nonsense",
    "application/json, application/json",
    ";;;",
    "x" * 5000,
]
PATH_IDS = [
    "",
    " ",
    "0",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "1e1000000000",
    "NaN",
    "null",
    "true",
    "9" * 5000,
    str(2**63),
    str(-(2**63) - 1),
    "%00",
    "1%00",
    "%ff",
    "%",
    "%zz",
    "%2f",
    "%2e%2e%2f",
    "..",
    "%D9%A1",
    "%ed%a0%80",
    "1;2",
    "1'--",
]
QUERIES = [
    "?",
    "?&&&",
    "?=",
    "?limit",
    "?limit=",
    "?limit=-1",
    "?limit=1e3",
    "?limit=true",
    "?limit=NaN",
    f"?limit={2**63}",
    f"?limit={'9' * 5000}",
    "?limit=1&limit=x",
    "?limit[]=1",
    "?limit=%00",
    "?limit=%D9%A1",
    "?after=",
    "?after=%00",
    "?after=%ff",
    "?after=%zz",
    "?after=null",
    "?after=AAAAAAAAAAAAAAAA",
    "?after=____________________",
    f"?after={'A' * 10_000}",
    "?after=%ed%a0%80",
    "?after=' OR 1=1 --",
    "?%ff=%ff",
    "?" + "a=b&" * 5000,
]
HEADERS = [
    ("Idempotency-Key", b""),
    ("Idempotency-Key", b"x" * 256),
    ("Idempotency-Key", b"\xff"),
    ("Idempotency-Key", b"\t"),
    ("Host", b""),
    ("Host", b"[::1"),
    ("Host", b"a b/c?d#e"),
    ("Cookie", b"=;;=\x7f"),
    ("Cache-Control", b"x" * 5000),
    ("X-Forwarded-Proto", b"gopher"),
    ("Accept", b"text/html;q=nonsense"),
]


@pytest.fixture
async def ids(client: AsyncClient) -> Json:
    """The ids of two users with money and of an item, which hostile requests refer to."""
    user = await create_user(client, balance="10.00")
    other = await create_user(client, balance="10.00")
    item = await create_item(client, user_id=user["id"])
    await client.put(f"{API}/users/{user['id']}/favorites/{item['id']}")
    return {"user": user["id"], "other": other["id"], "item": item["id"]}


def assert_handled(response: Response, what: object) -> None:
    """Check that a response is no 5xx, and a problem if it is an error."""
    assert response.status_code < 500, what
    if response.status_code >= 400:
        assert response.headers["Content-Type"] == "application/problem+json", what
        assert response.json()["status"] == response.status_code, what
        assert len(response.content) < 20_000, what


async def assert_lists_work(client: AsyncClient, ids: Json) -> None:
    """Check that everything that is stored can be returned to clients."""
    user = f"/users/{ids['user']}"
    for path in ("/users", "/items", f"{user}/items", f"{user}/favorites"):
        await walk(client, path)


@pytest.mark.parametrize(("method", "path", "body"), BODIES)
async def test_hostile_values(
    client: AsyncClient, ids: Json, method: str, path: str, body: str
) -> None:
    for name, value in VALUES.items():
        content = body.format(value, **ids).encode()
        url = API + path.format(**ids)
        response = await client.request(method, url, content=content, headers=JSON)
        assert_handled(response, name)

    await assert_lists_work(client, ids)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_hostile_bodies(client: AsyncClient, ids: Json, method: str, path: str) -> None:
    url = API + path.format(**ids)
    for name, content in CONTENTS.items():
        response = await client.request(method, url, content=content, headers=JSON)
        assert_handled(response, name)
    for content_type in CONTENT_TYPES:
        for content in (b"", b'{"name": "a", "price": 1}', b"name=a&price=1"):
            headers = {"Content-Type": content_type}
            response = await client.request(method, url, content=content, headers=headers)
            assert_handled(response, content_type)

    await assert_lists_work(client, ids)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/{0}"),
        ("GET", "/users/{0}/items"),
        ("PUT", "/users/{0}/favorites/{0}"),
        ("DELETE", "/items/{0}"),
        ("PATCH", "/items/{0}"),
        ("GET", "/transfers/{0}"),
    ],
)
async def test_hostile_paths(client: AsyncClient, ids: Json, method: str, path: str) -> None:
    for text in PATH_IDS:
        assert_handled(await client.request(method, API + path.format(text, **ids)), text)

    await assert_lists_work(client, ids)


@pytest.mark.parametrize(
    "path", ["/users", "/items", "/users/{user}/items", "/users/{user}/favorites"]
)
async def test_hostile_queries(client: AsyncClient, ids: Json, path: str) -> None:
    for query in QUERIES:
        assert_handled(await client.get(API + path.format(**ids) + query), query)


async def test_hostile_headers(client: AsyncClient, ids: Json) -> None:
    body = {"name": "a", "price": "1.00"}
    for name, value in HEADERS:
        headers = [(name.encode(), value)]
        assert_handled(await client.post(f"{API}/items", json=body, headers=headers), value)

    await assert_lists_work(client, ids)


@pytest.mark.parametrize("number", ["1e1000000000", "-1e1000000000", "1e-1000000000"])
async def test_number_that_takes_hours_to_convert_is_not_even_tried(
    client: AsyncClient, number: str
) -> None:
    content = f'{{"name": "a", "price": {number}}}'
    response = await client.post(f"{API}/items", content=content, headers=JSON)

    # Not `body.price`: no field gets to see it, whatever its type.
    assert wrong_fields(response) == ["body"]
