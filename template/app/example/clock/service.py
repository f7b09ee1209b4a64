"""The time."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from app.kit.db import AsyncReadSession

NOW = select(func.now())


async def get_time(session: AsyncReadSession) -> datetime:
    """The time of the database, in UTC."""
    now = (await session.scalars(NOW)).one()
    return now.replace(tzinfo=UTC) if now.tzinfo is None else now.astimezone(UTC)
