"""The metrics at /metrics: correct, bounded in number, and of all workers."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from httpx2 import AsyncClient, Limits
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app.kit.db.database import Database
from app.kit.db.unit_of_work import UnitOfWork
from tests.kit.clients import client_of
from tests.kit.faults import lose_connection
from tests.kit.probe import all_returned
from tests.kit.processes import end, free_port, start, wait_until_listening

DASHBOARD = Path(__file__).parents[2] / "monitoring" / "grafana.json"

Samples = dict[tuple[str, ...], float]


async def scrape(client: AsyncClient) -> Samples:
    """Every sample, by its name and the values of its labels in the order of their names."""
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_and_status(probe_client: AsyncClient) -> None:
    for probe_id in (5, 6, 7):
        await probe_client.get(f"/probes/{probe_id}")

    samples = await scrape(probe_client)

    assert samples["http_requests_total", "GET", "/probes/{probe_id}", "404"] >= 3
    counted = samples["http_request_duration_seconds_count", "GET", "/probes/{probe_id}"]
    assert counted == samples["http_requests_total", "GET", "/probes/{probe_id}", "404"]
    # This one.
    assert samples["http_requests_in_progress",] == 1


async def test_unknown_methods_and_paths_share_one_label(live_app: FastAPI) -> None:
    async with client_of(live_app) as client:
        await scrape(client)
        before = await scrape(client)
        for number in range(20):
            await client.get(f"/nowhere/{number}")
            await client.request(f"METHOD{number}", "/nowhere")
        after = await scrape(client)

    new = {sample for sample in after.keys() - before.keys() if sample[0] == "http_requests_total"}
    assert new == {
        ("http_requests_total", "GET", "none", "404"),
        ("http_requests_total", "other", "none", "404"),
    }
    assert sum(after[sample] for sample in new) == 40


async def test_connections_in_use_are_shown(live_app: FastAPI) -> None:
    database: Database = live_app.state.database
    async with client_of(live_app) as client:
        async with database.write() as session:
            await session.execute(text("SELECT 1"))
            during = await scrape(client)
        assert await all_returned(database)
        after = await scrape(client)

    assert during["db_pool_checked_out", "write"] >= 1
    assert after["db_pool_checked_out", "write"] == 0
    assert during["db_pool_size", "write"] >= 1
    assert during["db_pool_open", "write"] >= 1


async def test_retried_transactions_are_counted(live_app: FastAPI) -> None:
    attempts = 0

    async def work(unit: UnitOfWork) -> None:
        nonlocal attempts
        attempts += 1
        session = await unit.write()
        await session.execute(text("SELECT 1"))
        if attempts == 1:
            await lose_connection(session)
            await session.execute(text("SELECT 1"))

    await live_app.state.database.run_unit(work)
    async with client_of(live_app) as client:
        samples = await scrape(client)
        again = await scrape(client)

    assert attempts == 2
    assert samples["db_transaction_retries_total", "disconnected"] == 1
    assert again["db_transaction_retries_total", "disconnected"] == 1
    assert samples["db_ambiguous_commits_total",] == 0


def test_metrics_are_not_in_the_openapi_document(shared_app: FastAPI) -> None:
    assert "/metrics" not in shared_app.openapi()["paths"]


async def test_any_worker_reports_all_workers(own_url: str, tmp_path: Path) -> None:
    port = free_port()
    process = await start(
        tmp_path,
        "-m",
        "tests.kit",
        DATABASE_URL=own_url,
        PORT=str(port),
        WORKERS="2",
        TMPDIR=str(tmp_path),
    )
    # Each request has its own connection, which any worker may accept.
    limits = Limits(max_keepalive_connections=0)
    try:
        await wait_until_listening(process, port)
        for _ in range(600):
            if len(workers_in(tmp_path)) == 2:
                break
            await asyncio.sleep(0.05)
        async with AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits) as client:
            await asyncio.gather(*(client.get(f"/nowhere/{number}") for number in range(40)))

            for _ in range(10):
                samples = await scrape(client)
                assert samples["http_requests_total", "GET", "none", "404"] == 40
                assert samples["db_pool_size", "write"] >= 2

        process.terminate()
        async with asyncio.timeout(15):
            await process.communicate()
    finally:
        await end(process)
    assert workers_in(tmp_path) == set()


def workers_in(folder: Path) -> set[str]:
    """The workers that share their metrics."""
    files = folder.glob("metrics-*/gauge_livesum_*.db")
    return {file.stem.rpartition("_")[2] for file in files}


async def test_dashboard_shows_all_metrics_of_the_service(live_client: AsyncClient) -> None:
    families = text_string_to_metric_families((await live_client.get("/metrics")).text)
    endings = {"counter": "_total", "histogram": "_bucket"}
    names = {family.name + endings.get(family.type, "") for family in families}

    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {name for expression in asked for name in re.findall(r"(?:http|db)_\w+", expression)}

    assert shown == {name for name in names if name.startswith(("http_", "db_"))}
