"""Whatever clients send, over real sockets: no answer is a 5xx, nothing poisonous is stored."""

import asyncio
import itertools
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from services import BIN, environment

from faults.crowd import post
from faults.load import API, PROBLEM
from faults.world import World

ALL = pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"], indirect=True)


@dataclass(frozen=True)
class Hostile:
    """A request that no client of ours would send."""

    name: str
    data: bytes
    # Of what is no HTTP, the server itself says so, in its own words.
    is_http: bool = True
    # Hang up after sending; the server still waits for more.
    hangs_up: bool = False


# A field, and a request in which a value of JSON takes its place.
FIELDS = {
    "username": ("POST", "/users", '{"username": %s, "email": "a@example.org"}'),
    "email": ("POST", "/users", '{"username": "a", "email": %s}'),
    "balance": ("POST", "/users", '{"username": "b", "email": "b@example.org", "balance": %s}'),
    "item name": ("POST", "/items", '{"name": %s, "price": "1.00"}'),
    "description": ("PATCH", "/items/1", '{"description": %s}'),
    "price": ("POST", "/items", '{"name": "a", "price": %s}'),
    "owner": ("PATCH", "/items/1", '{"user_id": %s}'),
    "bulk": ("POST", "/items/bulk", '[{"name": "a", "price": "1.00"}, %s]'),
    "amount": ("POST", "/transfers", '{"from_user_id": 1, "to_user_id": 2, "amount": %s}'),
    "sender": ("POST", "/transfers", '{"from_user_id": %s, "to_user_id": 2, "amount": "0.01"}'),
}
VALUES = {
    "null": "null",
    "false": "false",
    "list of lists": "[[[]]]",
    "object": '{"": {}}',
    "empty": '""',
    "blank": '" "',
    "NUL": r'"x\u0000y"',
    "lone high surrogate": r'"\ud83d"',
    "lone low surrogate": r'"\ude00x"',
    "emoji": '"😀🏳️‍🌈"',
    "byte order mark": r'"\ufeff"',
    "line separators": r'"a\u2028b\u0085c\r\n"',
    "quotes": '"\'); DELETE FROM users; --"',
    "format": '"%d %(x)s {0.__class__} ${x} $1 :x"',
    "backslashes": r'"\\\\x00\\"',
    "300 characters": json.dumps("é" * 300),
    "12,000 characters": json.dumps("y" * 12_000),
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "NaN in quotes": '"nan"',
    "Infinity in quotes": '"inf"',
    "1e400": "1e400",
    "1e1000000000": "1e1000000000",
    "1e1000000000 in quotes": '"1e1000000000"',
    "1e-1000000000": "1e-1000000000",
    "huge exponent": "1E+99999999999999999999",
    "minus zero": "-0",
    "2^31": str(2**31),
    "2^63": str(2**63),
    "-2^63-1": str(-(2**63) - 1),
    "2^64": str(2**64),
    "1,000 digits": "1" + "0" * 1000,
    "6,000 digits": "7" * 6000,
    "10 decimals": '"1.0000000001"',
    "10,000 decimals": "0." + "3" * 10_000,
    "13 digits before the point": '"9999999999999.99"',
    "Arabic digits": '"١٢"',
    "underscores": '"1_000"',
    "800 levels": "[" * 800 + "]" * 800,
    "200,000 levels": "[" * 200_000,
}
BODIES = {
    "empty": b"",
    "blank": b" \r\n",
    "half": b'{"name": "a", "pri',
    "two": b'{"name": "a", "price": 1} {"name": "a"}',
    "Latin-1": b'{"name": "\xe4", "price": 1}',
    "overlong UTF-8": b'{"name": "\xc0\x80", "price": 1}',
    "UTF-16": '{"name": "a", "price": 1}'.encode("utf-16"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "NUL bytes": b"\x00" * 1000,
    "same key twice": b'{"name": "a", "name": "\\u0000", "price": 1}',
    "dangerous keys": b'{"__proto__": 1, "id": 99, "created_at": 0, "name": "k", "price": 1}',
    "20,000 rows": b"[" + b",".join([b'{"name":"a","price":1}'] * 20_000) + b"]",
}
PATHS = [
    *("/users/0", "/users/-1", "/users/1.5", "/users/1e2", "/users/NaN", "/users/%00"),
    *(f"/users/{2**63}", f"/users/{'9' * 3000}", "/users/%E2%82", "/users/%", "/users/%GG"),
    *("/users/..%2f..%2fetc", "/users/../users", "//users", "/users//", "/users/1;x", "/users/1/"),
    *("/users/%D9%A1", "/users/ 1", "/users/1%20", "/items/\x7f", "/items/\xff", "/items/1%0d%0a"),
    *("/transfers/null", "/transfers/[]", "/users/1/favorites/x", "/users/1/items/1", "/*", "/?"),
]
QUERIES = [
    *("limit=0", "limit=-1", "limit=1001", f"limit={2**64}", "limit=1.5", "limit=", "limit=%00"),
    *("limit=NaN", "limit=1&limit=2", "limit=x&limit=1", "limit[]=1", "limit=%D9%A1", "limit=1e1"),
    *("after=", "after=x", "after=%00", "after=%ff", "after=AAAAAAAAAAAAAAAA", "after=-_-_"),
    *("after=" + "A" * 20_000, "after=%F0%9F%98%80", "after[$ne]=1", "&&&&", "=", "%=%", "?" * 50),
    "a=b&" * 4000,
]
HEADERS = [
    *(b"Content-Type: text/xml", b"Content-Type: application/json; charset=utf-7"),
    *(b"Content-Type: multipart/form-data", b"Content-Type: \xff", b"Content-Type: ;;"),
    *(b"Idempotency-Key: ", b"Idempotency-Key: \xff\xfe", b"Idempotency-Key: " + b"k" * 256),
    *(b"Idempotency-Key: a\tb", b"Idempotency-Key: '; --", b"Accept: \xff", b"Accept: x/y"),
    *(b"Cookie: read_primary_until=99999999999999999999", b"Cookie: \xff=\xff", b"Cookie: ;;;"),
    *(b"Cookie: read_primary_until=-1", b"Host: evil", b"Host: [", b"X-Forwarded-For: \x01"),
    *(
        b"Content-Encoding: gzip",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"Range: bytes=9-",
    ),
    *(b"Transfer-Encoding: identity", b"If-None-Match: *", b"Authorization: Basic \xff"),
]
METHODS = ["HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "PROPFIND", "get", "GETGET", "A" * 30]
NO_HTTP = {
    "nothing": b"\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "no host": b"GET /api/v1/users HTTP/1.1\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    "100 KB header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n",
    "100 KB path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "2,000 headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
    "negative length": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length of words": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n",
    "two lengths": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\nxx",
    "length and chunks": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "huge length": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nContent-Length: "
    + b"9" * 30
    + b"\r\n\r\n",
    "broken chunk": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"zz\r\nx\r\n",
    "huge chunk": b"POST /api/v1/items HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"ffffffffffffffff\r\nx",
}
HANGING_UP = {
    "half a head": b"GET /api/v1/us",
    "half a body": post(f"{API}/items", b'{"name": ', Content_Length="100"),
    "half a chunk": post(f"{API}/items", b"5\r\n{", Transfer_Encoding="chunked"),
    "all but the last chunk": post(f"{API}/items", b"2\r\n{}\r\n", Transfer_Encoding="chunked"),
    "two requests at once": post(f"{API}/items", b"{}") * 2,
    "a request and garbage": post(f"{API}/items", b"{}") + b"\x00\xff" * 100,
}


def request(method: str, path: str, *headers: bytes, body: bytes = b"") -> bytes:
    """The bytes of a request, whatever they mean."""
    lines = [f"{method} {API}{path} HTTP/1.1".encode("latin-1"), b"Host: x", b"Connection: close"]
    if not any(header.startswith(b"Content-Type") for header in headers):
        lines.append(b"Content-Type: application/json")
    lines += [*headers, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", b""]) + body


def corpus() -> Iterator[Hostile]:
    """All hostile requests."""
    for (field, (method, path, body)), (name, value) in itertools.product(
        FIELDS.items(), VALUES.items()
    ):
        data = request(method, path, body=(body % value).encode())
        yield Hostile(f"{field}: {name}", data)
    for path, (name, content) in itertools.product(
        ("/users", "/items", "/items/bulk", "/transfers"), BODIES.items()
    ):
        yield Hostile(f"POST {path}: {name}", request("POST", path, body=content))
    for path in PATHS:
        is_http = path.isprintable() and " " not in path and path.isascii()
        yield Hostile(f"path {path[:40]!r}", request("GET", path), is_http)
    for path, query in itertools.product(("/items", "/users/1/favorites"), QUERIES):
        yield Hostile(f"{path}?{query[:40]}", request("GET", f"{path}?{query}"))
    for header in HEADERS:
        data = request("POST", "/items", header, body=b'{"name": "h", "price": "1.00"}')
        # Two hosts, or a control character, are for the server to refuse.
        is_http = not header.startswith((b"Host", b"X-Forwarded", b"Transfer-Encoding"))
        yield Hostile(f"header {header[:40]!r}", data, is_http)
    for method in METHODS:
        is_http = method.isupper() and method not in ("GETGET", "A" * 30)
        yield Hostile(f"method {method}", request(method, "/users"), is_http)
    for name, data in NO_HTTP.items():
        yield Hostile(name, data, is_http=False)
    for name, data in HANGING_UP.items():
        yield Hostile(f"hangs up after {name}", data, hangs_up=True)


STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


async def try_out(port: int, hostile: Hostile) -> tuple[Hostile, list[int], bytes]:
    """Send a request; give the statuses and the bytes of all answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(hostile.data)
        if hostile.hangs_up or not hostile.is_http:
            # Whether it waits for more is its own decision; the sender has said it all.
            writer.write_eof()
        async with asyncio.timeout(10):
            while data := await reader.read(65536):
                answer += data
    except OSError:
        pass
    except TimeoutError:
        answer += b"HTTP/1.1 999 "
    finally:
        writer.transport.abort()
    statuses = [int(status) for status in STATUS.findall(answer)]
    # 100 only asks for the body, which is on its way.
    return hostile, [status for status in statuses if status != 100], answer


async def try_all(port: int, requests: list[Hostile]) -> list[tuple[Hostile, list[int], bytes]]:
    """Send all, a few at a time."""
    places = asyncio.Semaphore(8)

    async def one(hostile: Hostile) -> tuple[Hostile, list[int], bytes]:
        async with places:
            return await try_out(port, hostile)

    return await asyncio.gather(*map(one, requests))


@ALL
def test_hostile_corpus(world: World) -> None:
    world.start()
    world.answers_well(world.ask("POST", "/items", {"name": "first", "price": "1.00"}), 201)
    requests = list(corpus())
    for hostile, statuses, answer in asyncio.run(try_all(world.service.port, requests)):
        bad = [status for status in statuses if status >= 500]
        world.verdict.expect(not bad, f"{hostile.name}: {bad}")
        if hostile.is_http and not hostile.hangs_up:
            world.verdict.expect(len(statuses) == 1, f"{hostile.name}: {len(statuses)} answers")
            if statuses and statuses[0] >= 400 and not hostile.name.startswith("method HEAD"):
                is_problem = PROBLEM.encode() in answer.partition(b"\r\n\r\n")[0].lower()
                world.verdict.expect(is_problem, f"{hostile.name}: {statuses[0]} is no problem")
    expect_lists(world)
    world.verdict.expect("Traceback" not in world.service.output, "the log has a traceback")
    world.verdict.note(f"{len(requests)} requests")


@pytest.mark.long
@ALL
def test_schema_fuzzer(world: World) -> None:
    """Requests made from /openapi.json: valid ones, invalid ones, and sequences of them."""
    world.start(DOCS="true")
    url = f"http://127.0.0.1:{world.service.port}/openapi.json"
    options = ["--checks=not_a_server_error", "--max-examples=40", "--no-color", "--seed=1"]
    options += ["--phases=examples,coverage,fuzzing,stateful", "--suppress-health-check=all"]
    options += ["--max-time=60", "--request-timeout=12", "--continue-on-failure"]
    result = subprocess.run(
        [BIN / "schemathesis", "run", url, *options],
        cwd=world.directory,
        env=environment(NO_PROXY="127.0.0.1"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    output = result.stdout
    world.verdict.expect(result.returncode == 0, output[-1500:])
    generated = re.search(r"(\d[\d,]*) generated", output)
    world.verdict.expect(generated, "it generated nothing")
    world.verdict.note(f"{generated[1] if generated else 0} requests")
    expect_lists(world)


def expect_lists(world: World) -> None:
    """Expect that everything that was stored can be given to clients."""
    users = world.database.query("SELECT id FROM users ORDER BY id")
    paths = ["/users", "/items"]
    paths += [f"/users/{row[0]}/{what}" for row in users[:50] for what in ("items", "favorites")]
    pages = Counter[str]()
    for path in paths:
        after = ""
        while True:
            answer = world.ask("GET", f"{path}?limit=1000{after}")
            world.answers_well(answer, 200)
            if answer.status != 200:
                break
            pages[path] += 1
            if answer.body["next"] is None:
                break
            after = f"&after={answer.body['next']}"
    # Who has an account keeps it, whatever the others try.
    world.accounts.clear()
