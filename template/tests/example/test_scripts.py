"""The scripts: what they print, that they can be run again, and how they fail."""

import os
import re
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select
from sqlalchemy.pool import QueuePool

from app.example import holdings, seed
from app.example.users.service import list_users_with_items
from app.kit.db import Database, PageQuery
from app.kit.script import run, run_with
from app.settings import Settings
from tests.example.api import API, create_item, create_user, walk
from tests.kit.faults import unreachable_url
from tests.kit.fixtures import make_settings
from tests.kit.server import DatabaseServer

ROOT = Path(__file__).parents[2]


async def test_seed_fills_in_what_is_missing(
    database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await seed.seed(database, 5) == 5
    assert await seed.seed(database, 7) == 2
    assert await seed.seed(database, 7) == 0

    async with database.read() as session:
        users = (await list_users_with_items(session, PageQuery())).items
    assert [user.username for user in users] == [f"example-{n:06}" for n in range(7)]
    assert {(len(user.items), len(user.favorites)) for user in users} == {(2, 1)}
    assert capsys.readouterr().err.splitlines()[-1] == "7 of 7 users"


async def test_holdings_show_what_users_own_and_like(
    client: AsyncClient, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = await create_user(client, username="ada", balance="1234.50")
    await create_user(client, username="bob")
    lamp = await create_item(client, name="Lamp", price="9999999999.99", user_id=ada["id"])
    await create_item(client, name="Book", price="0.02", user_id=ada["id"])
    await client.put(f"{API}/users/{ada['id']}/favorites/{lamp['id']}")

    await holdings.show(database)

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["user", "balance", "owns", "/", "likes"],
        ["ada", "1,234.50", "Lamp,", "Book", "/", "Lamp"],
        ["bob", "0.00", "nothing", "/", "nothing"],
        [],
        ["owns", "most", "worth", "items"],
        ["ada", "10,000,000,000.01", "2"],
        ["together", "10,000,000,000.01"],
    ]


async def test_report_adds_up_what_the_api_shows(client: AsyncClient, database: Database) -> None:
    await seed.seed(database, 30)
    worth: Counter[int] = Counter()
    for item in await walk(client, "/items"):
        if item["user_id"]:
            worth[item["user_id"]] += int(Decimal(item["price"]) * 100)

    async with database.read() as session:
        report = (await session.execute(holdings.RICHEST, {"places": 1000})).all()

    assert sorted(int(row.worth * 100) for row in report) == sorted(worth.values())
    assert all(isinstance(row.worth, Decimal) for row in report)


async def test_connections_are_closed_also_after_an_error(own_url: str) -> None:
    used = []

    async def fail(database: Database) -> None:
        used.append(database)
        async with database.read() as session:
            await session.scalar(select(1))
        raise LookupError

    with pytest.raises(LookupError):
        await run_with(make_settings(own_url), fail)

    pool = used[0].reader.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedin() == 0


def test_script_runs_as_a_command(own_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "app.example.seed", "3"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": own_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "3 of 3 users\n")
    assert result.stdout == "Created 3 users with their items.\n"


def test_script_error_is_one_line(
    server: DatabaseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_tables = server.create_database(f"empty_{os.getpid()}")
    for url, sentence in [
        ("nonsense", "DATABASE_URL: this is not a database URL"),
        (unreachable_url(tmp_path), "Is it running, and is DATABASE_URL right?"),
        (without_tables, "A table or column is missing"),
    ]:
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(SystemExit, match=re.escape(sentence)) as ended:
            run(Settings, holdings.show)
        assert len(str(ended.value).splitlines()) == 1
