"""The routes of reminders."""

from sqlalchemy import func, select

from app.errors import NotFoundError
from app.kit.web import DatabaseDep, Id, ReadSession, Router, WriteSession
from app.reminders.jobs import delete_old_reminders
from app.reminders.models import Reminder
from app.reminders.schemas import ReminderCount, ReminderCreate, ReminderRead
from app.settings import SettingsDep

router = Router(prefix="/reminders", tags=["reminders"])


@router.post("", status_code=201, response_model=ReminderRead)
async def create_reminder(data: ReminderCreate, session: WriteSession) -> Reminder:
    """Create a reminder."""
    reminder = Reminder(**data.model_dump())
    session.add(reminder)
    await session.flush()
    return reminder


@router.get("/count")
async def count_reminders(session: ReadSession, settings: SettingsDep) -> ReminderCount:
    """Count reminders."""
    count = await session.scalar(select(func.count()).select_from(Reminder)) or 0
    return ReminderCount(count=count, retention_days=settings.reminder_retention_days)


@router.get("/{reminder_id}", response_model=ReminderRead)
async def get_reminder(reminder_id: Id, session: ReadSession) -> Reminder:
    """Get a reminder."""
    reminder = await session.get(Reminder, reminder_id)
    if reminder is None:
        raise NotFoundError("reminder", reminder_id)
    return reminder


@router.post("/cleanup", status_code=204)
async def clean_up(database: DatabaseDep) -> None:
    """Delete old reminders now, and not only within the hour."""
    await delete_old_reminders(database)
