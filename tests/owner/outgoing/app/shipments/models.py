"""The table of shipments."""

from decimal import Decimal

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigInt, Money


class Shipment(Base):
    """Something to be sent somewhere."""

    __tablename__ = "shipments"

    id: Mapped[int] = mapped_column(BigInt, primary_key=True)
    city: Mapped[str] = mapped_column(String(100))
    price: Mapped[Decimal | None] = mapped_column(Money(12))
