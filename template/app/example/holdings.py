"""A report of what each user owns and likes: `python -m app.example.holdings`.

An example of sessions outside requests, of entities with their relationships, page by page, and of
plain SQL for a report.
"""

from decimal import Decimal

from sqlalchemy import Integer, String, text

import app.models  # noqa: F401  (services of one feature refer to models of others)
from app.example.items.models import Item
from app.example.users.service import list_users_with_items
from app.kit.db import Database, Money, PageQuery
from app.kit.script import run
from app.settings import Settings

# With these types, values are the same as those of models on every database.
RICHEST = text(
    """
    SELECT username, things, worth
    FROM (
        SELECT users.username, count(*) AS things, sum(items.price) AS worth,
            row_number() OVER (ORDER BY sum(items.price) DESC, users.username) AS place
        FROM users JOIN items ON items.user_id = users.id
        GROUP BY users.id, users.username
    ) ranking
    WHERE place <= :places
    ORDER BY place
    """
).columns(username=String(), things=Integer(), worth=Money(20))


async def show(database: Database) -> None:
    """Print one line for each user, and then the richest users."""
    print(f"{'user':<24}{'balance':>20}  owns / likes")
    query: PageQuery | None = PageQuery(limit=500)
    while query is not None:
        # A session for each page: no connection and no snapshot is held while this prints.
        async with database.read() as session:
            page = await list_users_with_items(session, query)
        for user in page.items:
            owns, likes = _names(user.items), _names(user.favorites)
            print(f"{user.username:<24}{user.balance:>20,}  {owns} / {likes}")
        query = PageQuery(limit=500, after=page.next) if page.next else None

    async with database.read() as session:
        richest = (await session.execute(RICHEST, {"places": 10})).all()
    print(f"\n{'owns most':<24}{'worth':>20}  items")
    for username, things, worth in richest:
        print(f"{username:<24}{worth:>20,}  {things}")
    total = sum((row.worth for row in richest), start=Decimal("0.00"))
    print(f"{'together':<24}{total:>20,}")


def _names(items: list[Item]) -> str:
    shown = ", ".join(item.name for item in items[:3])
    return f"{shown}, … ({len(items)})" if len(items) > 3 else shown or "nothing"


if __name__ == "__main__":
    run(Settings, show)
