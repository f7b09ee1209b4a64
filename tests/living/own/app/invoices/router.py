"""The routes of invoices."""

from typing import Annotated

from fastapi import Query, Request, Response

from app.invoices import service
from app.invoices.models import Invoice
from app.invoices.schemas import InvoiceCreate, InvoiceRead
from app.kit.db import Page, PageQuery
from app.kit.web import CREATED, Id, ReadSession, Router, WriteSession, set_location
from app.settings import Settings

router = Router(prefix="/invoices", tags=["invoices"])


@router.post("", status_code=201, response_model=InvoiceRead, responses=CREATED)
async def create_invoice(
    data: InvoiceCreate, session: WriteSession, request: Request, response: Response
) -> Invoice:
    """Create an invoice."""
    settings: Settings = request.app.state.settings
    days = settings.invoice_days
    invoice = await service.create_invoice(session, days=days, **data.model_dump())
    set_location(request, response, "get_invoice", invoice_id=invoice.id)
    return invoice


@router.get("", response_model=Page[InvoiceRead])
async def list_invoices(session: ReadSession, page: Annotated[PageQuery, Query()]) -> Page[Invoice]:
    """List invoices."""
    return await service.list_invoices(session, page)


@router.get("/{invoice_id}", response_model=InvoiceRead)
async def get_invoice(invoice_id: Id, session: ReadSession) -> Invoice:
    """Get an invoice."""
    return await service.get_invoice(session, invoice_id)


@router.put("/{invoice_id}/payment", response_model=InvoiceRead)
async def pay_invoice(invoice_id: Id, session: WriteSession) -> Invoice:
    """Pay an invoice."""
    return await service.pay_invoice(session, invoice_id)
