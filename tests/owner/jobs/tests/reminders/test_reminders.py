"""What runs beside requests: a job, a client from start to stop; and the service's own settings."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import select

from app.kit.db import Database, TransactionControlError, utc_now
from app.reminders.jobs import delete_old_reminders
from app.reminders.models import Reminder
from tests.kit.fixtures import client_of, make_settings, running_app
from tests.kit.waiting import eventually

URL = "/api/v1/reminders"


async def add_reminder(database: Database, text: str, *, days_ago: int) -> None:
    async with database.write() as session:
        session.add(Reminder(text=text, due=utc_now() - timedelta(days=days_ago)))


async def texts_of(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(select(Reminder.text)))


async def test_job_deletes_what_is_old(database: Database) -> None:
    await add_reminder(database, "old", days_ago=31)
    await add_reminder(database, "recent", days_ago=29)

    await delete_old_reminders(database)

    assert await texts_of(database) == ["recent"]


async def test_job_runs_when_the_service_starts_by_its_own_settings(own_url: str) -> None:
    settings = make_settings(own_url, reminder_retention_days=5)
    database = Database(settings)
    await add_reminder(database, "old", days_ago=6)
    await add_reminder(database, "recent", days_ago=4)

    async def is_old_one_deleted() -> bool:
        return await texts_of(database) == ["recent"]

    async with running_app(settings):
        await eventually(is_old_one_deleted)
    await database.close()


async def test_route_sees_the_settings(own_url: str) -> None:
    settings = make_settings(own_url, reminder_retention_days=5)
    async with running_app(settings) as app, client_of(app) as client:
        counted = await client.get(f"{URL}/count")

    assert counted.json() == {"count": 0, "retention_days": 5}


async def test_setting_of_the_service_is_checked() -> None:
    with pytest.raises(ValueError, match="reminder_retention_days"):
        make_settings("sqlite+aiosqlite://", reminder_retention_days=0)


async def test_route_can_use_the_database_beside_its_transaction(
    live_app: FastAPI, live_client: AsyncClient
) -> None:
    await add_reminder(live_app.state.database, "old", days_ago=31)

    cleaned = await live_client.post(f"{URL}/cleanup")

    assert cleaned.status_code == 204
    assert await texts_of(live_app.state.database) == []


async def test_test_on_one_connection_is_told_which_client_can(client: AsyncClient) -> None:
    with pytest.raises(TransactionControlError, match="live_client"):
        await client.post(f"{URL}/cleanup")


async def test_client_lives_from_start_to_stop(own_url: str) -> None:
    async with running_app(make_settings(own_url)) as app:
        client: AsyncClient = app.state.http_client
        assert not client.is_closed

    assert client.is_closed


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("2027-03-01T12:00:00Z", "2027-03-01T12:00:00Z"),
        ("2027-03-01T12:00:00.123456+02:00", "2027-03-01T10:00:00.123456Z"),
        ("0001-01-01T00:00:01Z", "0001-01-01T00:00:01Z"),
        ("9999-12-31T23:59:59.999998Z", "9999-12-31T23:59:59.999998Z"),
    ],
)
async def test_time_comes_back_in_utc(client: AsyncClient, sent: str, received: str) -> None:
    created = await client.post(URL, json={"text": "Call.", "due": sent})

    assert (created.status_code, created.json()["due"]) == (201, received)
    stored = await client.get(f"{URL}/{created.json()['id']}")
    assert stored.json() == created.json()


@pytest.mark.parametrize(
    "due",
    [
        pytest.param("2027-03-01T12:00:00", id="without offset"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the year 1"),
        pytest.param("9999-12-31T23:59:59-01:00", id="after the year 9999"),
        pytest.param("9999-12-31T23:59:59.999999Z", id="infinity of a driver"),
        pytest.param(1e300, id="number"),
    ],
)
async def test_what_is_no_point_in_time_is_refused(client: AsyncClient, due: Any) -> None:
    refused = await client.post(URL, json={"text": "Call.", "due": due})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["body.due"]
