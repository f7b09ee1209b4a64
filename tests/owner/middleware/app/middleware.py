"""The service's own middleware."""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)


class TenantMiddleware:
    """Puts the tenant that a request names into `request.state`, and into its response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        tenant = Headers(scope=scope).get("X-Tenant", "none")
        scope.setdefault("state", {})["tenant"] = tenant
        logger.info("serves a tenant", extra={"tenant": tenant})

        async def send_with_tenant(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Tenant"] = tenant
            await send(message)

        await self._app(scope, receive, send_with_tenant)


class MaintenanceMiddleware:
    """Refuses requests while `app.state.maintenance` is true."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and getattr(scope["app"].state, "maintenance", False):
            response = JSONResponse({"detail": "Back at noon."}, 503, {"Retry-After": "600"})
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)
