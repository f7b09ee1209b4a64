"""The routers of the features. Add yours here; those of busy routes come first."""

from app.example.routers import ROUTERS as EXAMPLE

PREFIX = "/api/v1"

ROUTERS = [
    *EXAMPLE,
]
