"""The routers of the features. Add yours here; those of busy routes first, they match soonest."""

from app.starter.routers import ROUTERS as STARTER

PREFIX = "/api/v1"

ROUTERS = [
    *STARTER,
]
