"""Creates example users with items and favorites: `python -m app.example.seed [number of users]`.

Existing users are not changed, so it can be run again, also after an interruption.
"""

import argparse
import sys
from decimal import Decimal

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

import app.models  # noqa: F401  (services of one feature refer to models of others)
from app.example.favorites.service import add_favorite
from app.example.items.service import create_item, create_items
from app.example.users.models import User
from app.example.users.service import create_user
from app.kit.db import Database
from app.kit.script import run
from app.settings import Settings

BATCH = 100
EXISTING = select(User.username).where(User.username.in_(bindparam("names", expanding=True)))


async def seed(database: Database, number: int) -> int:
    """Create the missing users of `number` and return how many were created."""
    created = 0
    for start in range(0, number, BATCH):
        wanted = range(start, min(start + BATCH, number))

        # One transaction per batch: short enough not to block other writers, and retried as a whole
        # after a deadlock or serialization failure.
        async def work(session: AsyncSession, wanted: range = wanted) -> int:
            names = {f"example-{n:06}": n for n in wanted}
            existing = set(await session.scalars(EXISTING, {"names": list(names)}))
            missing = {name: n for name, n in names.items() if name not in existing}
            rows = []
            for name, n in missing.items():
                user = await create_user(
                    session, username=name, email=f"{name}@example.org", balance=Decimal(n % 1000)
                )
                item = await create_item(session, name=f"Lamp {n}", price=Decimal("19.99"))
                await add_favorite(session, user.id, item.id)
                for kind in ("Book", "Chair"):
                    price = Decimal(n % 100) + Decimal("0.95")
                    row = {"name": f"{kind} {n}", "description": None, "price": price}
                    rows.append({**row, "user_id": user.id})
            await create_items(session, rows)
            return len(missing)

        created += await database.run_transaction(work)
        print(f"{wanted.stop} of {number} users", file=sys.stderr)
    return created


async def main(database: Database) -> None:
    """Parse the command line, create the users and report."""
    parser = argparse.ArgumentParser(prog="python -m app.example.seed", description=__doc__)
    parser.add_argument("number", nargs="?", type=int, default=100, help="users (100)")
    number = parser.parse_args().number
    created = await seed(database, number)
    if created:
        print(f"Created {created} users with their items.")
    else:
        print("Nothing to do: all users exist.")


if __name__ == "__main__":
    run(Settings, main)
