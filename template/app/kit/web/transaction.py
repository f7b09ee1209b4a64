"""The transaction boundary of requests: one request, one unit of work, committed before the
response is sent.

A feature creates its router with `Router(...)`; its endpoints depend on a `ReadSession` or a
`WriteSession` and never commit. docs/transactions.md describes the order of events.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import iterate_in_threadpool, run_in_threadpool
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect, HTTPConnection

from app.kit.db.pool import Isolation
from app.kit.db.sessions import AsyncReadSession
from app.kit.db.unit_of_work import UnitOfWork
from app.kit.web import consistency
from app.kit.web.fastapi_internals import Attempt, depends_on, effective_dependant
from app.kit.web.idempotency import METHODS, IdempotentRequest, key_of
from app.kit.web.problems import problem
from app.kit.web.strict_json import StrictJSONRequest

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
UNIT_OF_WORK = "unit_of_work"


@dataclass(frozen=True)
class TransactionOptions:
    """The options of an endpoint's transaction."""

    isolation: Isolation | None = None
    idempotency_key: bool = True
    streaming_body: bool = False


def transaction(
    *,
    isolation: Isolation | None = None,
    idempotency_key: bool = True,
    streaming_body: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Set options of an endpoint's transaction; put it below `@router.post(...)`.

    Args:
        isolation: The isolation level. With one, an endpoint that only reads runs in a transaction,
            too.
        idempotency_key: Whether `Idempotency-Key` is supported; if not, the header is ignored and
            no response is stored.
        streaming_body: Whether the endpoint reads the body itself, by `request.stream()` or as a
            large upload. The body is then not buffered, the request is never retried, and
            `Idempotency-Key` is ignored.
    """

    def set_options(endpoint: Endpoint) -> Endpoint:
        endpoint.__transaction__ = TransactionOptions(  # type: ignore[attr-defined]
            isolation, idempotency_key and not streaming_body, streaming_body
        )
        return endpoint

    return set_options


def options_of(endpoint: Callable[..., Any] | None) -> TransactionOptions:
    """The options of an endpoint's transaction."""
    options: TransactionOptions = getattr(endpoint, "__transaction__", TransactionOptions())
    return options


class _Call:
    """The state of one attempt at a request."""

    def __init__(self, unit: UnitOfWork, idempotent: IdempotentRequest | None) -> None:
        self.unit = unit
        self.idempotent = idempotent
        self.committed = asyncio.Event()


_current_call: ContextVar[_Call] = ContextVar("current_call")


class TransactionalRoute(APIRoute):
    """Runs its endpoint and dependencies in one unit of work.

    It is committed after the endpoint has returned and before the response is sent, so a failed
    COMMIT is never reported as success. After an exception, or a response of 400 and above, nothing
    persists, and no background task runs. After a transient failure, all of it is retried with a
    fresh request.
    """

    takes_idempotency_key: bool
    """Whether a request may have an `Idempotency-Key`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        options = options_of(self.endpoint)
        dependant = effective_dependant(self)
        writes = depends_on(dependant, write_session)
        # What is stored with a response is what this transaction has written: work in pieces has
        # transactions of its own, which a key of the request cannot protect.
        takes_keys = options.idempotency_key and writes and (self.methods or {"GET"}) <= METHODS
        self.takes_idempotency_key = takes_keys
        _wrap_endpoint(dependant)
        handle = super().get_route_handler()

        async def handle_in_transaction(request: Request) -> Response:
            body = None
            if not options.streaming_body:
                try:
                    # Before the transaction begins, because a body may arrive slowly.
                    body = await request.body()
                except ClientDisconnect:
                    return problem(400, "The client disconnected before the end of the body.")
            key = key_of(request) if takes_keys and body is not None else None

            async def work(unit: UnitOfWork) -> Response:
                attempt = Attempt(request, StrictJSONRequest, body)
                attempt.request.scope[UNIT_OF_WORK] = unit
                idempotent = None
                if key is not None and body is not None:
                    ignored = consistency.COOKIES
                    idempotent = IdempotentRequest(attempt.request, key, body, ignored)
                call = _Call(unit, idempotent)
                token = _current_call.set(call)
                try:
                    response = await attempt.run(handle)
                    unit.rollback_only = response.status_code >= 400
                    if idempotent is not None and not idempotent.replayed:
                        await idempotent.store(await unit.write(), response)
                    await unit.commit()
                except BaseException as error:
                    await attempt.fail(error)
                    raise
                finally:
                    _current_call.reset(token)
                attempt.succeed()
                call.committed.set()
                if unit.rollback_only:
                    response.background = None
                return response

            return await consistency.run_unit(
                request,
                work,
                writes=writes or key is not None,
                isolation=options.isolation,
                retries=not options.streaming_body,
            )

        return handle_in_transaction


class Router(APIRouter):
    """FastAPI's `APIRouter`, each of whose routes runs in a unit of work."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"route_class": TransactionalRoute, **options})


def _wrap_endpoint(dependant: Dependant) -> None:
    """Replay a stored response instead of a call, and start a generator after the commit."""
    endpoint = dependant.call
    assert endpoint is not None

    if isasyncgenfunction(endpoint) or isgeneratorfunction(endpoint):

        @wraps(endpoint)
        async def generate(**values: Any) -> AsyncIterator[Any]:
            # FastAPI starts this generator before the response is sent.
            call = _current_call.get(None)
            if call is not None:
                await call.committed.wait()
            items = endpoint(**values)
            if isgeneratorfunction(endpoint):
                items = iterate_in_threadpool(items)
            async for item in items:
                yield item

        dependant.call = generate
        return

    @wraps(endpoint)
    async def call_once(**values: Any) -> Any:
        call = _current_call.get()
        if call.idempotent is not None:
            stored = await call.idempotent.find(await call.unit.write())
            if stored is not None:
                return stored
        if iscoroutinefunction(endpoint):
            return await endpoint(**values)
        return await run_in_threadpool(endpoint, **values)

    dependant.call = call_once


def _unit_of_work(connection: HTTPConnection) -> UnitOfWork:
    unit: UnitOfWork | None = connection.scope.get(UNIT_OF_WORK)
    if unit is None:
        raise RuntimeError(
            f"{connection.url.path} uses a session outside a unit of work: create its router "
            "with Router(...) of app.kit.web; a WebSocket opens its own session with DatabaseDep"
        )
    return unit


async def read_session(connection: HTTPConnection) -> AsyncReadSession:
    """The request's session for reading."""
    return await _unit_of_work(connection).read()


async def write_session(connection: HTTPConnection) -> AsyncSession:
    """The request's session for writing."""
    return await _unit_of_work(connection).write()


ReadSession = Annotated[AsyncReadSession, Depends(read_session)]
WriteSession = Annotated[AsyncSession, Depends(write_session)]
