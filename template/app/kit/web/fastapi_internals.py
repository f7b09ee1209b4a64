"""What the kit uses of FastAPI that is not documented: where it keeps the exit stacks of a request,
and which dependencies a route has where it is included.

Each attempt to answer a request has stacks of its own, so that what a failed one has opened is
closed before the next begins.
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
    """The dependencies of a route, those of the router that includes it among them.

    To be called from `get_route_handler`, which FastAPI calls once for each inclusion.
    """
    context = routing._effective_route_context_var.get()
    source: Any = context if context is not None and context.original_route is route else route
    dependant: Dependant = source.dependant
    return dependant


def depends_on(dependant: Dependant, dependency: Callable[..., Any]) -> bool:
    """Whether a dependency is anywhere in the tree."""
    return dependant.call is dependency or any(
        depends_on(each, dependency) for each in dependant.dependencies
    )


class Attempt:
    """One attempt to answer a request: a request of its own, and exit stacks of its own."""

    def __init__(self, request: Request, request_class: type[Request], body: bytes | None) -> None:
        """Without a `body`, it is read from the client, and there can be one attempt only."""
        self._outer = request
        self._stack = AsyncExitStack()
        scope = dict(request.scope)
        scope["state"] = dict(scope.get("state", {}))
        scope[REQUEST_STACK] = self._stack
        receive = request.receive if body is None else _replay(body, request.receive)
        self.request = request_class(scope, receive)

    async def run(self, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        """Call FastAPI's handler, and end the dependencies of function scope.

        Raises:
            RuntimeError: A dependency has swallowed an exception.
        """
        response = None
        async with AsyncExitStack() as function_stack:
            self.request.scope[FUNCTION_STACK] = function_stack
            response = await handle(self.request)
        if response is None:
            raise RuntimeError(
                "a dependency with `yield` has swallowed an exception: raise it again, there is no "
                "response otherwise"
            )
        return response

    def succeed(self) -> None:
        """Leave the dependencies of request scope open until the response is sent."""
        stack: AsyncExitStack = self._outer.scope[REQUEST_STACK]
        stack.push_async_exit(self._stack)
        self._outer.scope["state"] = self.request.scope["state"]

    async def fail(self, error: BaseException) -> None:
        """End the dependencies of request scope."""
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
