"""Dependencies of endpoints, besides sessions."""

from typing import Annotated, Any

from fastapi import Depends
from starlette.requests import HTTPConnection

from app.kit.db.database import Database


async def get_settings(connection: HTTPConnection) -> Any:
    """The settings of the application. `SettingsDep` in `app/settings.py` has their type."""
    return connection.app.state.settings


async def get_database(connection: HTTPConnection) -> Database:
    """The database, for work outside the transaction of the request: streams, WebSockets."""
    database: Database = connection.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(get_database)]
