"""Undocumented internals of FastAPI that the kit uses: the exit stacks of a request, and the
dependencies of a route where it is included.

Each attempt at a request has its own exit stacks, so that the resources of a failed attempt are
closed before the next one begins.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request, Response, routing
from fastapi.dependencies.models import Dependant
from starlette.types import Message, Receive

REQUEST_STACK = "fastapi_inner_astack"
FUNCTION_STACK = "fastapi_function_astack"


def effective_dependant(route: routing.APIRoute) -> Dependant:
    """The dependencies of a route, including those of the routers that include it.

    Call it from `get_route_handler`, which FastAPI calls once for each inclusion.
    """
    context = routing._effective_route_context_var.get()
    source: Any = context if context is not None and context.original_route is route else route
    dependant: Dependant = source.dependant
    return dependant


def depends_on(dependant: Dependant, dependency: Callable[..., Any]) -> bool:
    """Whether a dependency is anywhere in the dependency tree."""
    return dependant.call is dependency or any(
        depends_on(each, dependency) for each in dependant.dependencies
    )


class Attempt:
    """One attempt at a request, with its own `Request` and exit stacks."""

    def __init__(self, request: Request, request_class: type[Request], body: bytes | None) -> None:
        """`body` is replayed; None: it is read from the client, so only one attempt is possible."""
        self._outer = request
        self._stack = AsyncExitStack()
        scope = dict(request.scope)
        scope["state"] = dict(scope.get("state", {}))
        scope[REQUEST_STACK] = self._stack
        receive = request.receive if body is None else _replay(body, request.receive)
        self.request = request_class(scope, receive)

    async def run(self, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        """Call FastAPI's handler, and close the dependencies of function scope.

        Raises:
            RuntimeError: A dependency swallowed an exception.
        """
        response = None
        async with AsyncExitStack() as function_stack:
            self.request.scope[FUNCTION_STACK] = function_stack
            response = await handle(self.request)
        if response is None:
            raise RuntimeError(
                "a dependency with `yield` swallowed an exception: raise it again, because there "
                "is no response otherwise"
            )
        return response

    def succeed(self) -> None:
        """Keep the dependencies of request scope open until the response is sent."""
        stack: AsyncExitStack = self._outer.scope[REQUEST_STACK]
        stack.push_async_exit(self._stack)
        self._outer.scope["state"] = self.request.scope["state"]

    async def fail(self, error: BaseException) -> None:
        """Close the dependencies of request scope."""
        await self._stack.__aexit__(type(error), error, error.__traceback__)


def _replay(body: bytes, receive: Receive) -> Receive:
    replayed = False

    async def receive_again() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
