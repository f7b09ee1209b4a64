"""The routers of the features. Add yours here; those of busy routes first, they match soonest."""

from app.example.routers import ROUTERS as EXAMPLE

PREFIX = "/api/v1"

ROUTERS = [
    *EXAMPLE,
]
