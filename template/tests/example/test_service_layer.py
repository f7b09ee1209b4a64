"""Services without HTTP, as scripts, jobs and other services call them."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import ConflictError, NotFoundError
from app.example.favorites import service as favorites
from app.example.items import service as items
from app.example.transfers import service as transfers
from app.example.users import service as users
from app.example.users.models import User
from app.kit.db import Database, PageQuery
from app.kit.web import ProblemError
from app.kit.web.transaction import read_session
from tests.example.api import ABSENT, API, assert_problem, create_user


async def add_user(session: AsyncSession, name: str, balance: str = "0.00") -> User:
    """A new user."""
    email = f"{name}@example.org"
    return await users.create_user(session, username=name, email=email, balance=Decimal(balance))


@contextmanager
def counted_selects(database: Database) -> Iterator[list[str]]:
    """The SELECT statements that are sent inside the block."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    engine = database.writer.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


async def test_services_work_with_any_session(session: AsyncSession) -> None:
    ada, bob = await add_user(session, "ada", "3.00"), await add_user(session, "bob")
    item = await items.create_item(session, name="Lamp", price=Decimal("1.00"), user_id=ada.id)
    await favorites.add_favorite(session, bob.id, item.id)
    made = await transfers.make_transfer(session, ada.id, bob.id, Decimal("1.25"))

    assert (ada.balance, bob.balance) == (Decimal("1.75"), Decimal("1.25"))
    assert (await transfers.get_transfer(session, made.id)).amount == Decimal("1.25")
    liked = await favorites.list_favorites(session, bob.id, PageQuery())
    assert liked.items == [item]


async def test_services_raise_errors_of_the_domain(session: AsyncSession) -> None:
    ada, bob = await add_user(session, "ada"), await add_user(session, "bob")

    with pytest.raises(NotFoundError, match=f"There is no item {ABSENT}"):
        await items.get_item(session, ABSENT)
    with pytest.raises(ConflictError, match="balance"):
        await transfers.make_transfer(session, ada.id, bob.id, Decimal("0.01"))


async def test_failed_savepoint_keeps_what_came_before(session: AsyncSession) -> None:
    ada = await add_user(session, "ada")

    async def add_both() -> None:
        async with session.begin_nested():
            await add_user(session, "bob")
            await add_user(session, "ada")

    with pytest.raises(IntegrityError):
        await add_both()

    found = await users.list_users(session, PageQuery())
    assert found.items == [ada]


async def test_second_like_leaves_the_transaction_usable(session: AsyncSession) -> None:
    ada = await add_user(session, "ada")
    item = await items.create_item(session, name="Lamp", price=Decimal("1.00"))

    for _ in range(2):
        await favorites.add_favorite(session, ada.id, item.id)

    assert (await users.get_user(session, ada.id)).username == "ada"
    assert len((await favorites.list_favorites(session, ada.id, PageQuery())).items) == 1


@pytest.mark.parametrize("number", [1, 10])
async def test_eager_loading_takes_three_statements_for_any_number(
    database: Database, number: int
) -> None:
    async with database.write() as session:
        for n in range(number):
            user = await add_user(session, f"user{n}")
            rows = [{"name": "Lamp", "price": Decimal("1.00"), "user_id": user.id}] * n
            await items.create_items(session, rows)
            item = await items.create_item(session, name="Book", price=Decimal("2.00"))
            await favorites.add_favorite(session, user.id, item.id)

    async with database.read() as reading:
        with counted_selects(database) as statements:
            found = await users.list_users_with_items(reading, PageQuery())

    assert [len(user.items) for user in found.items] == list(range(number))
    assert [[item.name for item in user.favorites] for user in found.items] == [["Book"]] * number
    assert len(statements) == 3


async def test_lists_are_never_loaded_by_accident(database: Database, client: AsyncClient) -> None:
    created = await create_user(client)

    async with database.read() as session:
        user = await users.get_user(session, created["id"])
        for relationship in ("items", "favorites"):
            with pytest.raises(InvalidRequestError, match="lazy='raise'"):
                getattr(user, relationship)


async def test_dependency_is_replaced_for_a_test(app: FastAPI, client: AsyncClient) -> None:
    async def closed() -> None:
        raise ProblemError(503, "Closed for stocktaking.")

    user = await create_user(client)
    app.dependency_overrides[read_session] = closed

    problem = assert_problem(await client.get(f"{API}/users/{user['id']}"), 503)

    assert problem["detail"] == "Closed for stocktaking."
    # What writes has another dependency. All overrides are taken back after the test.
    await create_user(client)
