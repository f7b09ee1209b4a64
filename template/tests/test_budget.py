"""The connections that all processes may open together, against what the server allows."""

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import QueuePool, text

from app.db import budget
from app.db.budget import Need
from app.db.database import Database
from app.db.engine import MORE_CONNECTIONS, connection_limit, create_engine
from app.db.pool import replace_pool
from app.settings import Settings
from tests.conftest import make_settings, running_app
from tests.relay import relay_to
from tests.waiting import until


def settings_for(database_url: str, **values: Any) -> Settings:
    """Settings for the server itself, without a proxy before it."""
    if "database_pgbouncer" in Settings.model_fields:
        values["database_pgbouncer"] = False
    return make_settings(database_url, **values)


async def limit_of(url: str) -> int:
    """What the server allows."""
    settings = settings_for(url)
    engine = create_engine(settings, "probe")
    async with engine.connect() as connection:
        limit = await connection_limit(settings, connection)
    await engine.dispose()
    assert limit is not None
    return limit


async def reported(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """The line about the database."""
    async with asyncio.timeout(30):
        while True:
            for record in caplog.records:
                if record.name == "app.db.budget":
                    return record
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("size", "overflow"), [(1, 0), (2, 0), (5, 10), (7, 3), (20, 1)])
async def test_need_of_a_process_is_what_its_pools_may_open(
    own_url: str, size: int, overflow: int
) -> None:
    settings = settings_for(own_url, database_pool_size=size, database_max_overflow=overflow)
    database = Database(settings)
    pools = [engine.pool for engine in database.engines]
    bounds = [p.size() + p._max_overflow for p in pools if isinstance(p, QueuePool)]
    await database.close()

    # One more looks at how the database is.
    (need,) = budget.needs(settings)
    assert need.connections == sum(bounds) + 1
    assert need.connections == max(size, 2) + overflow + 1


@pytest.mark.parametrize("ping", [True, False])
async def test_pool_settings_reach_both_engines(own_url: str, ping: bool) -> None:
    values = {"database_pool_timeout": 2.5, "database_pool_recycle": 77}
    database = Database(settings_for(own_url, database_pool_pre_ping=ping, **values))

    for engine in (database.writer, database.reader):
        assert isinstance(engine.pool, QueuePool)
        pool = engine.pool
        assert (pool.timeout(), pool._recycle, pool._pre_ping) == (2.5, 77, ping)
    await database.close()


async def test_connection_that_is_out_when_the_idle_ones_are_closed_is_closed_after_its_work(
    own_url: str,
) -> None:
    async with relay_to(own_url) as (url, relay):

        async def all_closed() -> bool:
            return not relay.connections

        database = Database(settings_for(url))
        async with database.read() as session:
            await session.execute(text("SELECT 1"))
            await replace_pool(database.reader)
            assert relay.connections == 1
        await until(all_closed)
        await database.close()


async def test_sum_that_the_server_allows_is_logged_at_startup(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    limit = await limit_of(own_url)
    settings = settings_for(own_url, instances=2, workers=2)

    async with running_app(settings):
        record = await reported(caplog)

    assert record.levelno == logging.INFO
    assert "up to 64 connections (INSTANCES=2 * WORKERS=2 * 16)" in record.message
    assert record.message.endswith(f"allows {limit}")


async def test_sum_that_the_server_does_not_allow_is_a_warning_with_a_way_out(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    limit = await limit_of(own_url)
    settings = settings_for(own_url, instances=limit)

    async with running_app(settings):
        record = await reported(caplog)

    assert record.levelno == logging.WARNING
    assert f"up to {16 * limit} connections" in record.message
    assert f"allows {limit}:" in record.message
    assert "DATABASE_POOL_SIZE" in record.message
    assert MORE_CONNECTIONS in record.message


async def test_sum_of_exactly_what_the_server_allows_is_no_warning(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    limit = await limit_of(own_url)
    settings = settings_for(own_url)

    await budget.report(settings, [Need("server", settings, limit)])
    await budget.report(settings, [Need("server", settings, limit + 1)])

    levels = [record.levelno for record in caplog.records if record.name == "app.db.budget"]
    assert levels == [logging.INFO, logging.WARNING]


async def test_database_that_is_away_delays_the_sum_and_not_the_start(
    own_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    async with relay_to(own_url) as (url, relay):
        relay.speaks.clear()
        async with running_app(settings_for(url, database_connect_timeout=0.2)):
            assert [record for record in caplog.records if record.name == "app.db.budget"] == []

            relay.speaks.set()
            assert "up to 16 connections" in (await reported(caplog)).message
