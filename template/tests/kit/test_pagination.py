"""Pages: cursors that are ours alone, and walks that see every row once."""

import base64
import struct

import pytest
from httpx2 import AsyncClient
from sqlalchemy import select

from app.kit.db.database import Database
from app.kit.db.pagination import PageQuery, fetch_page, fetch_rows, paged
from app.kit.web.pagination import decode_cursor, encode_cursor
from tests.kit.probe import PROBES, ProbeBase, add_probes


@pytest.mark.parametrize("last_id", [-(2**63), -1, 0, 1, 255, 10**12, 2**63 - 1])
def test_cursor_gives_back_its_id(last_id: int) -> None:
    cursor = encode_cursor(last_id)

    assert cursor is not None
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert decode_cursor(cursor) == last_id


def test_last_page_has_no_cursor() -> None:
    assert encode_cursor(None) is None


FOREIGN = {
    "empty": "",
    "a number": "1",
    "text": "next",
    "of its length": "AAAAAAAAAAAAAAAA",
    "without its checksum": base64.urlsafe_b64encode(struct.pack(">qI", 1, 0)).decode(),
    "too long": "A" * 10_000,
    "other letters": "öööööööööööööööö",
    "SQL": "1' OR '1'='1",
    "NUL": "\x00" * 16,
}


@pytest.mark.parametrize("cursor", FOREIGN.values(), ids=FOREIGN.keys())
async def test_cursor_that_is_not_ours_is_422(probe_client: AsyncClient, cursor: str) -> None:
    response = await probe_client.get("/probes", params={"after": cursor})

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "9" * 5000])
async def test_limit_out_of_range_is_422(probe_client: AsyncClient, limit: str) -> None:
    assert (await probe_client.get("/probes", params={"limit": limit})).status_code == 422


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
async def test_walk_sees_every_row_once_and_in_order(
    probe_database: Database, probe_client: AsyncClient, limit: int
) -> None:
    names = [f"probe {number}" for number in range(7)]
    await add_probes(probe_database, *names)

    seen, query = [], {"limit": str(limit)}
    while "after" not in query or query["after"]:
        page = (await probe_client.get("/probes", params=query)).json()
        assert len(page["items"]) <= limit
        seen += [item["name"] for item in page["items"]]
        query["after"] = page["next"]

    assert seen == names


async def test_rows_that_come_meanwhile_shift_nothing(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    await add_probes(probe_database, "a", "b", "c")
    first = (await probe_client.get("/probes", params={"limit": 2})).json()
    await add_probes(probe_database, "d")

    second = (await probe_client.get("/probes", params={"after": first["next"]})).json()

    assert [item["name"] for item in second["items"]] == ["c", "d"]


@pytest.mark.parametrize("limit", [2, 3])
async def test_rows_of_a_table_are_what_the_objects_are(
    probe_database: Database, limit: int
) -> None:
    await add_probes(probe_database, "a", "b", "c")
    table = ProbeBase.metadata.tables["probes"]
    statement = paged(select(table), by=table.c.id)

    async with probe_database.read() as session:
        rows = await fetch_rows(session, statement, PageQuery(limit=limit))
        objects = await fetch_page(session, PROBES, PageQuery(limit=limit))

    assert [(row["id"], row["name"], row["note"]) for row in rows.items] == [
        (probe.id, probe.name, probe.remark) for probe in objects.items
    ]
    assert rows.next == objects.next
