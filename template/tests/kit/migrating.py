"""Alembic's commands on a database of the tests."""

from collections.abc import Callable
from typing import Any

from alembic.config import Config
from sqlalchemy import Connection, inspect

from app.kit.db.engine import create_engine
from app.kit.migrations import upgrade as migrate
from tests.kit.application import make_settings


async def on_connection(url: str, function: Callable[[Connection], Any]) -> Any:
    """Call a function as a migration is called: on a connection that may change the schema."""
    engine = create_engine(make_settings(url), "migrate")
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(function)
    finally:
        await engine.dispose()


async def run_alembic(url: str, function: Callable[..., Any], *arguments: str) -> None:
    """Run one of Alembic's commands on a database."""

    def run_it(connection: Connection) -> None:
        config: Config = migrate.alembic_config()
        config.attributes["connection"] = connection
        function(config, *arguments)

    await on_connection(url, run_it)


async def tables_of(url: str) -> set[str]:
    """The names of the tables in a database."""
    names = await on_connection(url, lambda connection: inspect(connection).get_table_names())
    return set(names) - {"alembic_version"}
