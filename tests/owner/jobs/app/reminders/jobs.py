"""What happens to reminders beside requests."""

from datetime import timedelta

from sqlalchemy import delete

from app.kit.db import Database, utc_now
from app.kit.jobs import PeriodicJob
from app.reminders.models import Reminder
from app.settings import Settings


async def delete_old_reminders(database: Database) -> None:
    """Delete the reminders that have been due for longer than the settings say."""
    assert isinstance(database.settings, Settings)
    retention = timedelta(days=database.settings.reminder_retention_days)
    async with database.write() as session:
        await session.execute(delete(Reminder).where(Reminder.due < utc_now() - retention))


DELETE_OLD_REMINDERS = PeriodicJob(delete_old_reminders, interval=timedelta(hours=1))
