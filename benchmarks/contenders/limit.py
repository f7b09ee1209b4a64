"""The limit: a bare ASGI function on asyncpg that makes its JSON by hand and checks nothing."""

import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qsl

import asyncpg

ITEM = "id, name, description, price, created_at, user_id"
INSERT = "INSERT INTO items (name, description, price, created_at, user_id) VALUES "
COLUMNS = ("name", "description", "price", "created_at", "user_id")
LIVE = b'{"status":"ok"}'

pool: asyncpg.Pool


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    endpoint = scope["path"].removeprefix("/api/v1/")
    if scope["method"] == "GET":
        status, body = await read(endpoint, scope["query_string"])
    else:
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        status, body = 201, await POST[endpoint](json.loads(body, parse_float=Decimal))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive, send):
    global pool
    await receive()
    dsn = os.environ["DATABASE_URL"].replace("+asyncpg", "")
    async with asyncpg.create_pool(dsn, min_size=5, max_size=15) as pool:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def read(endpoint, query):
    if endpoint == "/health/live":
        return 200, LIVE
    if endpoint == "items":
        limit = int(dict(parse_qsl(query.decode())).get("limit", 50))
        rows = await pool.fetch(
            f"SELECT {ITEM} FROM items WHERE id > $1 ORDER BY id LIMIT $2", 0, limit + 1
        )
        items = ",".join(map(item_json, rows[:limit]))
        return 200, f'{{"items":[{items}],"next":{rows[limit - 1]["id"]}}}'.encode()
    item_id = int(endpoint.removeprefix("items/"))
    row = await pool.fetchrow(f"SELECT {ITEM} FROM items WHERE id = $1", item_id)
    return (404, b"{}") if row is None else (200, item_json(row).encode())


def item_json(row):
    item_id, name, description, price, created_at, user_id = row
    return (
        f'{{"id":{item_id},"name":{json.dumps(name)},"description":{json.dumps(description)},'
        f'"price":"{price}","created_at":"{created_at.isoformat()}",'
        f'"user_id":{"null" if user_id is None else user_id}}}'
    )


def columns(item, now):
    return item["name"], item.get("description"), item["price"], now, item.get("user_id")


async def create_item(item):
    item["price"] = Decimal(item["price"])
    row = await pool.fetchrow(
        f"{INSERT} ($1, $2, $3, $4, $5) RETURNING {ITEM}", *columns(item, datetime.now(UTC))
    )
    return item_json(row).encode()


async def create_items(items):
    now = datetime.now(UTC)
    for item in items:
        item["price"] = Decimal(item["price"])
    async with pool.acquire() as connection:
        records = [columns(item, now) for item in items]
        await connection.copy_records_to_table("items", records=records, columns=COLUMNS)
    return b'{"created":%d}' % len(items)


async def create_transfer(transfer):
    sender, receiver = transfer["from_user_id"], transfer["to_user_id"]
    amount = Decimal(transfer["amount"])
    async with pool.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            "SELECT id, balance FROM users WHERE id IN ($1, $2) ORDER BY id FOR UPDATE",
            sender,
            receiver,
        )
        balances = dict(rows)
        assert balances[sender] >= amount
        await connection.execute(
            "UPDATE users SET balance = balance + CASE id WHEN $1 THEN -$3::numeric ELSE $3 END "
            "WHERE id IN ($1, $2)",
            sender,
            receiver,
            amount,
        )
        transfer_id = await connection.fetchval(
            "INSERT INTO transfers (from_user_id, to_user_id, amount, created_at) "
            "VALUES ($1, $2, $3, $4) RETURNING id",
            sender,
            receiver,
            amount,
            datetime.now(UTC),
        )
    return (
        f'{{"id":{transfer_id},"from_user_id":{sender},"to_user_id":{receiver},'
        f'"amount":"{amount}","from_balance":"{balances[sender] - amount}",'
        f'"to_balance":"{balances[receiver] + amount}"}}'
    ).encode()


POST = {"items": create_item, "items/bulk": create_items, "transfers": create_transfer}
