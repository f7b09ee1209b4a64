"""Migrations: what `migrations/env.py` and the revisions import from here."""

from app.kit.migrations.environment import run
from app.kit.migrations.operations import backfill, create_index

__all__ = ["backfill", "create_index", "run"]
