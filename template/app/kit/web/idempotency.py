"""`Idempotency-Key`: a request that is retried with the same key takes effect once.

The response is stored in the transaction of the request, so that both persist or neither does. It
is replayed after the dependencies of the route have run, including authentication, and only to the
principal of the first request.
"""

import hashlib
import json
from email.message import Message

from fastapi import Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.kit.db.engine import try_lock
from app.kit.db.idempotency import IdempotencyRecord
from app.kit.web.problems import ProblemError
from app.kit.web.strict_json import NOT_JSON

HEADER = "Idempotency-Key"
METHODS = frozenset({"POST", "PATCH"})
# Not `Set-Cookie`: a session cookie must not be stored in the database.
REPLAYED_HEADERS = frozenset(
    {"cache-control", "content-disposition", "content-language", "content-type", "etag", "location"}
)
# Headers that identify a client whose principal is not set.
CREDENTIALS = ("authorization", "x-api-key", "cookie")
PRINCIPAL = "principal"


def set_principal(request: Request, principal: object) -> None:
    """Set the principal of a request; call it from authentication.

    Without it, a response is replayed only to a request with the same credentials.
    """
    setattr(request.state, PRINCIPAL, str(principal))


def key_of(request: Request) -> str | None:
    """The key of a request, if it has one.

    Raises:
        ProblemError: 422 if it is not 1 to 255 printable ASCII characters.
    """
    key = request.headers.get(HEADER)
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise ProblemError(422, f"{HEADER} must be 1 to 255 printable ASCII characters.")
    return key


class IdempotentRequest:
    """A request with a key, whose unit of work writes."""

    def __init__(self, request: Request, key: str, body: bytes, ignored_cookies: tuple[str, ...]):
        """`ignored_cookies` are the names of cookies that are no credentials."""
        self._request = request
        self._key = key
        self._fingerprint = _fingerprint(request, body)
        self._ignored_cookies = ignored_cookies
        self._expired: IdempotencyRecord | None = None
        self.replayed = False

    async def find(self, session: AsyncSession) -> Response | None:
        """Lock the key, and return its stored response, if there is one.

        Raises:
            ProblemError: 409 while another request with this key is in progress; 422 if the key was
                used for a different request or by a different principal.
        """
        if not await try_lock(session, f"{HEADER} {self._key}"):
            raise ProblemError(409, f"A request with this {HEADER} is in progress. Retry later.")
        stored = await session.get(IdempotencyRecord, self._key)
        if stored is None or stored.expired:
            self._expired = stored
            return None
        if (stored.fingerprint, stored.principal) != (self._fingerprint, self._principal()):
            raise ProblemError(422, f"This {HEADER} was used for another request. Choose another.")
        self.replayed = True
        headers = {**json.loads(stored.headers), "Idempotency-Replayed": "true"}
        return Response(stored.body, stored.status, headers)

    async def store(self, session: AsyncSession, response: Response) -> None:
        """Store the first response.

        Raises:
            ProblemError: 422 if it is a stream or a file.
        """
        if not hasattr(response, "body"):
            raise ProblemError(422, f"A stream or file cannot be replayed: omit {HEADER}.")
        if response.status_code >= 400:
            return
        if self._expired is not None:
            await session.delete(self._expired)
            await session.flush()
        kept = {k: v for k, v in response.headers.items() if k.lower() in REPLAYED_HEADERS}
        session.add(
            IdempotencyRecord(
                key=self._key,
                fingerprint=self._fingerprint,
                principal=self._principal(),
                status=response.status_code,
                headers=json.dumps(kept),
                body=bytes(response.body),
            )
        )

    def _principal(self) -> str:
        principal = getattr(self._request.state, PRINCIPAL, None)
        if principal is None:
            headers = self._request.headers
            cookies = {
                k: v for k, v in self._request.cookies.items() if k not in self._ignored_cookies
            }
            sent = [headers.get(name) for name in CREDENTIALS if name != "cookie"]
            principal = json.dumps([sent, sorted(cookies.items())])
        return hashlib.sha256(principal.encode()).hexdigest()


def _fingerprint(request: Request, body: bytes) -> str:
    head = f"{request.method} {request.url.path}?{request.url.query}\n"
    return hashlib.sha256(head.encode() + _canonical(request, body)).hexdigest()


def _canonical(request: Request, body: bytes) -> bytes:
    """The body in a canonical form: equal content has equal bytes."""
    content_type = Message()
    content_type["content-type"] = request.headers.get("content-type", "")
    if content_type.get_content_maintype() == "multipart":
        boundary = str(content_type.get_param("boundary", ""))
        return body.replace(boundary.encode("latin-1", "replace"), b"") if boundary else body
    subtype = content_type.get_content_subtype()
    if subtype == "json" or subtype.endswith("+json"):
        try:
            return json.dumps(json.loads(body, parse_float=str), sort_keys=True).encode()
        except NOT_JSON:
            return body
    return body
