"""Many requests at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from faults.load import Answer, Client
from faults.verdict import tally
from faults.world import LONGEST_REQUEST, World

Request = tuple[str, str, Any]


def crowd(world: World, requests: Iterable[Request], *, at_once: int) -> list[Answer]:
    """Send requests, so many at a time, and hold the answers against the bars for all answers."""
    answers = asyncio.run(_crowd(world.service.port, list(requests), at_once))
    judge(world, answers)
    return answers


async def _crowd(port: int, requests: list[Request], at_once: int) -> list[Answer]:
    client = Client(f"http://127.0.0.1:{port}")
    places = asyncio.Semaphore(at_once)

    async def ask(method: str, path: str, body: Any) -> Answer:
        async with places:
            return await client.ask(f"{method} {path}", method, path, json=body)

    async with client.http:
        return await asyncio.gather(*(ask(*request) for request in requests))


def flood(world: World, paths: Iterable[str]) -> list[Answer]:
    """GET all paths at once, each by a connection of its own; hold the answers against the bars."""
    answers = asyncio.run(_flood(world.service.port, list(paths)))
    judge(world, answers)
    return answers


async def _flood(port: int, paths: list[str]) -> list[Answer]:
    # A library's client costs more than the service does, and would measure itself.
    async def ask(path: str) -> Answer:
        answer = Answer(f"GET {path}", time.monotonic())
        try:
            client = await RawClient.connect(port)
            await client.send(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            )
            head, _, answer.text = (await client.reader.read()).decode().partition("\r\n\r\n")
            client.hang_up()
            status, *lines = head.split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            answer.status = int(status.split()[1])
            answer.media_type = headers.get("content-type", "").partition(";")[0]
            answer.retry_after = headers.get("retry-after")
        except (OSError, ValueError, IndexError) as error:
            answer.error = type(error).__name__
        answer.seconds = time.monotonic() - answer.start
        return answer

    return await asyncio.gather(*map(ask, paths))


def judge(world: World, answers: list[Answer]) -> None:
    """Hold answers against the bars for all answers."""
    broken = Counter(bar for answer in answers for bar in answer.broken_bars())
    world.verdict.expect(not broken, tally(broken))
    slowest = max(answer.seconds for answer in answers)
    world.verdict.expect(slowest <= LONGEST_REQUEST, f"the slowest took {slowest:.1f} s")
    failed = sum(not answer.ok for answer in answers)
    world.verdict.note(f"{len(answers)} requests, {failed} failed, slowest {slowest:.2f} s")


class RawClient:
    """A client that is not polite: it sends bytes, and may hang up at any time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.start = time.monotonic()

    @classmethod
    async def connect(cls, port: int) -> "RawClient":
        """Connect to the service."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def status(self, seconds: float) -> int | None:
        """The status of the next answer; None: the connection ended, or the time was over."""
        try:
            async with asyncio.timeout(seconds):
                line = await self.reader.readline()
            return int(line.split()[1]) if line else None
        except (OSError, ValueError, IndexError, TimeoutError):
            return None

    def hang_up(self) -> None:
        """End the connection."""
        self.writer.transport.abort()


def post(path: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if "Transfer_Encoding" not in headers and "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
