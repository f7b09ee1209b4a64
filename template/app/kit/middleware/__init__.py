"""What stands around the whole application, errors and the owner's middleware included."""

from fastapi import FastAPI
from starlette.types import ASGIApp

from app.kit.middleware.body_limit import BodyLimitMiddleware
from app.kit.middleware.drain import ConnectionDrainMiddleware, Shutdown
from app.kit.middleware.request_timeout import RequestTimeoutMiddleware
from app.kit.middleware.security_headers import SecurityHeadersMiddleware
from app.kit.observability.access_log import AccessLogMiddleware
from app.kit.settings import KitSettings


def install(app: FastAPI, settings: KitSettings) -> None:
    """Put the layers around an application, whatever middleware is added to it later."""
    app.state.shutdown = Shutdown(settings.shutdown_delay)
    build = app.build_middleware_stack

    def build_middleware_stack() -> ASGIApp:
        inner = BodyLimitMiddleware(build(), settings.max_body_bytes, settings.body_timeout)
        timed = RequestTimeoutMiddleware(inner, settings.request_timeout)
        secured = SecurityHeadersMiddleware(timed)
        drained = ConnectionDrainMiddleware(secured, app.state.shutdown)
        return AccessLogMiddleware(drained)

    app.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]
