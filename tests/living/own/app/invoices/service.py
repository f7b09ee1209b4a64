"""What can be done with invoices."""

from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import ConflictError, NotFoundError
from app.invoices.models import Invoice
from app.kit.db import AsyncReadSession, Page, PageQuery, paginate, utc_now

INVOICES = select(Invoice)


async def create_invoice(session: AsyncSession, *, days: int, **values: Any) -> Invoice:
    """Add an invoice that is due after some days; `values` are the other columns."""
    now = utc_now()
    invoice = Invoice(issued_at=now, due_at=now + timedelta(days=days), **values)
    session.add(invoice)
    await session.flush()
    return invoice


async def get_invoice(session: AsyncReadSession, invoice_id: int) -> Invoice:
    """One invoice.

    Raises:
        NotFoundError: There is none with this id.
    """
    invoice = await session.get(Invoice, invoice_id)
    if invoice is None:
        raise NotFoundError("invoice", invoice_id)
    return invoice


async def list_invoices(session: AsyncReadSession, page: PageQuery) -> Page[Invoice]:
    """One page of all invoices."""
    return await paginate(session, INVOICES, page)


async def pay_invoice(session: AsyncSession, invoice_id: int) -> Invoice:
    """Mark an invoice as paid, once.

    Raises:
        NotFoundError: There is none with this id.
        ConflictError: It is paid already.
    """
    found = select(Invoice).where(Invoice.id == invoice_id).with_for_update()
    invoice = (await session.scalars(found)).one_or_none()
    if invoice is None:
        raise NotFoundError("invoice", invoice_id)
    if invoice.paid:
        raise ConflictError(f"Invoice {invoice.number} is paid already.")
    invoice.paid = True
    await session.flush()
    return invoice


async def overdue(session: AsyncReadSession) -> list[Invoice]:
    """The invoices that should have been paid by now, the oldest first."""
    late = select(Invoice).where(Invoice.paid.is_(False), Invoice.due_at < utc_now())
    return list(await session.scalars(late.order_by(Invoice.due_at)))
