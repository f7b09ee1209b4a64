"""Alembic runs this file for every command. How it works is in `app/kit/migrations`."""

from app.kit.migrations import run
from app.models import METADATA
from app.settings import Settings

# Autogenerate leaves alone all tables that no model and no revision names, for example those of
# another application in the same database. Add patterns of more that it is to leave alone.
IGNORED = ("spatial_ref_sys",)

run(METADATA, Settings, IGNORED)
