"""FastAPI on asyncpg, without an ORM."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import asyncpg
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, Field

Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
ITEM = "id, name, description, price, created_at, user_id"
COLUMNS = ("name", "description", "price", "created_at", "user_id")


class ItemCreate(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str | None, Field(max_length=10_000)] = None
    price: Annotated[Money, Field(ge=0)]
    user_id: int | None = None


class ItemRead(BaseModel):
    id: int
    name: str
    description: str | None
    price: Decimal
    created_at: datetime
    user_id: int | None


class ItemPage(BaseModel):
    items: list[ItemRead]
    next: int | None


class ItemsCreated(BaseModel):
    created: int


class TransferCreate(BaseModel):
    from_user_id: int
    to_user_id: int
    amount: Annotated[Money, Field(gt=0)]


class TransferMade(BaseModel):
    id: int
    from_user_id: int
    to_user_id: int
    amount: Decimal
    from_balance: Decimal
    to_balance: Decimal


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    dsn = os.environ["DATABASE_URL"].replace("+asyncpg", "")
    async with asyncpg.create_pool(dsn, min_size=5, max_size=15) as app.state.pool:
        yield


async def get_pool(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


Pool = Annotated[asyncpg.Pool, Depends(get_pool)]
app = FastAPI(lifespan=lifespan)


@app.get("/health/live")
async def live() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/v1/items/{item_id}")
async def get_item(item_id: int, pool: Pool) -> ItemRead:
    row = await pool.fetchrow(f"SELECT {ITEM} FROM items WHERE id = $1", item_id)
    if row is None:
        raise HTTPException(404, "Item not found")
    return ItemRead(**row)


@app.get("/api/v1/items")
async def list_items(
    pool: Pool, limit: Annotated[int, Query(ge=1, le=1000)] = 50, after: int = 0
) -> ItemPage:
    rows = await pool.fetch(
        f"SELECT {ITEM} FROM items WHERE id > $1 ORDER BY id LIMIT $2", after, limit + 1
    )
    items = [ItemRead(**row) for row in rows[:limit]]
    return ItemPage(items=items, next=items[-1].id if len(rows) > limit else None)


@app.post("/api/v1/items", status_code=201)
async def create_item(item: ItemCreate, pool: Pool) -> ItemRead:
    row = await pool.fetchrow(
        "INSERT INTO items (name, description, price, created_at, user_id) "
        f"VALUES ($1, $2, $3, $4, $5) RETURNING {ITEM}",
        item.name,
        item.description,
        item.price,
        datetime.now(UTC),
        item.user_id,
    )
    return ItemRead(**row)


@app.post("/api/v1/items/bulk", status_code=201)
async def create_items(items: list[ItemCreate], pool: Pool) -> ItemsCreated:
    now = datetime.now(UTC)
    records = [(item.name, item.description, item.price, now, item.user_id) for item in items]
    async with pool.acquire() as connection:
        await connection.copy_records_to_table("items", records=records, columns=COLUMNS)
    return ItemsCreated(created=len(items))


@app.post("/api/v1/transfers", status_code=201)
async def create_transfer(data: TransferCreate, pool: Pool) -> TransferMade:
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            "SELECT id, balance FROM users WHERE id IN ($1, $2) ORDER BY id FOR UPDATE",
            data.from_user_id,
            data.to_user_id,
        )
        balances = dict(rows)
        if len(balances) < 2:
            raise HTTPException(404, "User not found")
        if balances[data.from_user_id] < data.amount:
            raise HTTPException(409, "Insufficient funds")
        await connection.execute(
            "UPDATE users SET balance = balance + CASE id WHEN $1 THEN -$3::numeric ELSE $3 END "
            "WHERE id IN ($1, $2)",
            data.from_user_id,
            data.to_user_id,
            data.amount,
        )
        transfer_id = await connection.fetchval(
            "INSERT INTO transfers (from_user_id, to_user_id, amount, created_at) "
            "VALUES ($1, $2, $3, $4) RETURNING id",
            data.from_user_id,
            data.to_user_id,
            data.amount,
            datetime.now(UTC),
        )
    return TransferMade(
        id=transfer_id,
        **data.model_dump(),
        from_balance=balances[data.from_user_id] - data.amount,
        to_balance=balances[data.to_user_id] + data.amount,
    )
