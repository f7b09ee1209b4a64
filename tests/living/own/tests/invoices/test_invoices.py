"""Invoices: numbered once, due after the days of the settings, paid once."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from dirty_equals import IsDatetime, IsPositiveInt
from httpx2 import AsyncClient

from app.invoices import service
from app.kit.db import Database, utc_now
from app.settings import Settings
from scripts.overdue import report

INVOICES = "/api/v1/invoices"
INVOICE = {"number": "2026-001", "customer": "Größe & Co", "amount": "1234567.89"}


async def create(client: AsyncClient, **values: Any) -> Any:
    response = await client.post(INVOICES, json=INVOICE | values)
    assert response.status_code == 201, response.text
    return response.json()


async def test_invoice_is_stored_as_created(client: AsyncClient) -> None:
    created = await create(client)

    assert created == INVOICE | {
        "id": IsPositiveInt(),
        "issued_at": IsDatetime(iso_string=True),
        "due_at": IsDatetime(iso_string=True),
        "paid": False,
    }
    assert (await client.get(f"{INVOICES}/{created['id']}")).json() == created
    assert (await client.get(INVOICES)).json() == {"items": [created], "next": None}


async def test_invoice_is_due_after_the_days_of_the_settings(client: AsyncClient) -> None:
    created = await create(client)

    issued, due = (datetime.fromisoformat(created[name]) for name in ("issued_at", "due_at"))
    assert due - issued == timedelta(days=Settings.model_fields["invoice_days"].default)


async def test_number_is_given_once(client: AsyncClient) -> None:
    await create(client)

    assert (await client.post(INVOICES, json=INVOICE)).status_code == 409


async def test_invoice_is_paid_once(live_client: AsyncClient) -> None:
    path = f"{INVOICES}/{(await create(live_client))['id']}/payment"

    answers = await asyncio.gather(*(live_client.put(path) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]


async def test_overdue_invoices_are_reported(client: AsyncClient, database: Database) -> None:
    await create(client, number="in time")
    async with database.write() as session:
        late = await service.create_invoice(session, days=-1, **INVOICE | {"amount": Decimal(5)})

    assert late.due_at < utc_now()
    assert await report(database) == ["2026-001: Größe & Co, 5.00"]


async def test_invoice_of_nobody_is_404(client: AsyncClient, invoice: dict[str, Any]) -> None:
    assert (await client.put(f"{INVOICES}/{invoice['id'] + 1}/payment")).status_code == 404
