"""The application: `create_app` builds it from its settings; servers run `app`."""

from fastapi import FastAPI

from app import api, jobs, models
from app.kit.application import build_app, load_app
from app.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Build the application; it connects to nothing before it starts."""
    app = build_app(
        settings,
        routers=api.ROUTERS,
        prefix=api.PREFIX,
        metadata=models.METADATA,
        jobs=jobs.JOBS,
        lifespan=jobs.lifespan,
    )
    # Your own middleware: app.add_middleware(...). It runs inside the request id, the access log,
    # CORS and the limits, and around all routes.
    return app


app = load_app(create_app, Settings)
