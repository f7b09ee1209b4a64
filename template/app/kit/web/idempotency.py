"""`Idempotency-Key`: a POST that is repeated with the same key happens once.

The answer is stored in the transaction of the request, so that either both persist or neither.
"""

import hashlib
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.db.database import UnitOfWork
from app.kit.db.engine import try_lock
from app.kit.db.idempotency import IdempotencyRecord
from app.kit.web.problems import ProblemError

HEADER = "Idempotency-Key"


async def run_idempotent(
    request: Request, unit: UnitOfWork, handle: Callable[[Request], Awaitable[Response]]
) -> Response:
    """ResponseRecorder a request, or give again the answer that its key got before.

    Raises:
        ProblemError: 409 while the first request with this key is in progress; 422 if it asked for
            something else, if the answer is a stream or a file, or if the key is not 1 to 255
            printable ASCII characters.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST":
        return await handle(request)
    if not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise ProblemError(422, f"{HEADER} must be 1 to 255 printable ASCII characters.")

    # Before the transaction begins: a body may be slow.
    fingerprint = await _fingerprint(request)
    session = await unit.write()
    if not await try_lock(session, f"{HEADER} {key}"):
        raise ProblemError(409, f"A request with this {HEADER} is in progress. Repeat it later.")
    stored = await session.get(IdempotencyRecord, key)
    if stored is not None and not stored.expired:
        if stored.fingerprint != fingerprint:
            raise ProblemError(422, f"This {HEADER} was used for another request. Choose another.")
        return _replay(stored)

    response = await handle(request)
    if not hasattr(response, "body"):
        raise ProblemError(422, f"A stream or file cannot be given again: omit {HEADER}.")
    if response.status_code < 400:
        if stored is not None:
            await session.delete(stored)
            await session.flush()
        _store(session, key, fingerprint, response)
    return response


async def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    return digest.hexdigest()


def _store(session: AsyncSession, key: str, fingerprint: str, response: Response) -> None:
    session.add(
        IdempotencyRecord(
            key=key,
            fingerprint=fingerprint,
            status=response.status_code,
            location=response.headers.get("location"),
            media_type=response.headers.get("content-type"),
            body=bytes(response.body),
        )
    )


def _replay(stored: IdempotencyRecord) -> Response:
    headers = {"Idempotency-Replayed": "true"}
    if stored.location is not None:
        headers["Location"] = stored.location
    return Response(stored.body, stored.status, headers, stored.media_type)
