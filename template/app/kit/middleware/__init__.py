"""The middleware around the application. A request passes, from the outside in:

1. `RequestMiddleware`: request id, access log, Host check, deadlines, disconnected clients, and
   the headers of every response;
2. Starlette's `CORSMiddleware`, if CORS_ORIGINS is set;
3. Starlette's `ServerErrorMiddleware`: unhandled exceptions become a 500;
4. FastAPI's body limit, MAX_BODY_BYTES; `max_body_size=...` of a route or router replaces it;
5. the error handlers, for exceptions of your own middleware;
6. your own middleware, `app.add_middleware(...)`: the one added last is the outermost;
7. the error handlers again, and the routes.
"""

from functools import partial

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp

from app.kit.middleware.requests import RequestMiddleware
from app.kit.middleware.shutdown import Shutdown
from app.kit.settings import KitSettings

# Headers that scripts of other origins may read, besides the CORS-safelisted ones.
EXPOSED_HEADERS = ("X-Request-ID", "Location", "Retry-After", "Idempotency-Replayed")


def install(app: FastAPI, settings: KitSettings) -> None:
    """Wrap an application, including middleware that is added later."""
    cors = partial(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED_HEADERS,
    )
    app.state.shutdown = Shutdown(settings.shutdown_delay)
    app.state.requests = RequestMiddleware(
        settings, app.state.shutdown, cors if settings.cors_origins else lambda app: app
    )
    build = app.build_middleware_stack

    def build_middleware_stack() -> ASGIApp:
        if app.user_middleware:
            handlers = {**app.exception_handlers}
            del handlers[Exception]
            app.user_middleware.insert(0, Middleware(ExceptionMiddleware, handlers=handlers))
        return app.state.requests.around(build())  # type: ignore[no-any-return]

    app.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]
