"""Write the overdue invoices to a file: `python -m scripts.overdue`."""

import anyio

import app.models  # noqa: F401  (features refer to models of others)
from app.invoices import service
from app.kit.db import Database
from app.kit.script import run
from app.settings import Settings


async def report(database: Database) -> list[str]:
    """A line for each overdue invoice."""
    async with database.read() as session:
        late = await service.overdue(session)
        return [f"{invoice.number}: {invoice.customer}, {invoice.amount}" for invoice in late]


async def main(database: Database) -> None:
    """Write the report."""
    lines = "".join(f"{line}\n" for line in await report(database))
    await anyio.Path("reports/overdue.txt").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    run(Settings, main)
