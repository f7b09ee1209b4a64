"""Pagination: walks that return every row once, and cursors that are valid for one order."""

import gc
import weakref
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import Select, bindparam, delete, func, literal, select
from sqlalchemy.orm import aliased, defer

from app.kit.db import Database, InvalidCursorError, PageQuery, UTCDateTime, paginate
from app.kit.db.keyset import MAX_CURSOR, Keyset, OrderColumn, keyset
from tests.kit.probe import ProbeBase, Sample, Seat, State, add_probes

START = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
TABLES = ProbeBase.metadata.tables
SAMPLES = TABLES["samples"]
OTHER = aliased(Sample)


def sample(n: int) -> Sample:
    """A row that shares each value except its id with others."""
    return Sample(
        label=["", "a", "é𝄞", 'b" \\,', "B"][n % 5],
        rank=[-5, 0, 7][n % 3],
        happened_at=START + timedelta(microseconds=n % 4),
        day=date(2026, 1, 1 + n % 3),
        price=Decimal(n % 4) / 100,
        state=[State.OPEN, State.CLOSED][n % 2],
        native_state=State.OPEN,
        flag=n % 3 == 0,
        token=bytes([n % 3, 255]),
        weight=0.1,
    )


@pytest.fixture
async def samples(probe_database: Database) -> Database:
    """A database with rows that have many equal values."""
    async with probe_database.write() as session:
        session.add_all([sample(n) for n in range(25)])
        session.add_all(
            Seat(row=row, number=n, price=Decimal(n % 2)) for row in "ab" for n in range(6)
        )
    return probe_database


async def walk(
    database: Database, statement: Select[*tuple[Any, ...]], limit: int, **options: Any
) -> AsyncIterator[list[Any]]:
    """The pages of a list."""
    after, more = None, True
    while more:
        async with database.read() as session:
            page = await paginate(
                session, statement, PageQuery(limit=limit, after=after), **options
            )
        assert len(page.items) == limit or page.next is None
        yield page.items
        after, more = page.next, page.next is not None


ORDERS: dict[str, Any] = {
    "primary key": [],
    "primary key, descending": [Sample.id.desc()],
    "text": [Sample.label],
    "number": [Sample.rank.desc()],
    "time": [Sample.happened_at.desc()],
    "day": [Sample.day.asc()],
    "money": [Sample.price.desc()],
    "enum": [Sample.state],
    "boolean": [Sample.flag.desc()],
    "bytes": [Sample.token],
    "several": [Sample.rank.desc(), Sample.label.desc()],
    "both directions": [Sample.rank.desc(), Sample.label, Sample.happened_at.desc()],
    "a key that ends otherwise": [Sample.price, Sample.id.desc()],
    "columns of the table": [SAMPLES.c.rank, SAMPLES.c.label.desc()],
}


@pytest.mark.parametrize("limit", [1, 4, 25])
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
async def test_walk_sees_every_row_once_and_in_order(
    samples: Database, order: list[Any], limit: int
) -> None:
    statement = select(Sample).order_by(*order)

    seen = [item.id async for page in walk(samples, statement, limit) for item in page]

    last = order[-1] if order else Sample.id
    descending = "DESC" in str(last)
    complete = select(Sample.id).order_by(*order, Sample.id.desc() if descending else Sample.id)
    async with samples.read() as session:
        assert seen == list(await session.scalars(complete))


STATEMENTS: dict[str, tuple[Select[*tuple[Any, ...]], dict[str, Any]]] = {
    "entities": (select(Sample).order_by(Sample.rank), {}),
    "of an alias": (select(OTHER).order_by(OTHER.rank), {}),
    "without the column of the order": (
        select(Sample).options(defer(Sample.label)).order_by(Sample.rank),
        {},
    ),
    "some columns": (select(Sample.id, Sample.label).order_by(Sample.rank), {}),
    "columns under other names": (
        select(Sample.id, Sample.rank.label("place")).order_by(Sample.rank),
        {},
    ),
    "a table": (select(SAMPLES).order_by(SAMPLES.c.rank), {}),
    "with a filter": (
        select(Sample).where(Sample.rank >= bindparam("least")).order_by(Sample.rank),
        {"params": {"least": -5}},
    ),
}


@pytest.mark.parametrize(("statement", "options"), STATEMENTS.values(), ids=STATEMENTS.keys())
async def test_every_kind_of_statement_is_paged(
    samples: Database, statement: Select[*tuple[Any, ...]], options: dict[str, Any]
) -> None:
    seen = [item async for page in walk(samples, statement, 4, **options) for item in page]

    ids = [item["id"] if isinstance(item, dict) else item.id for item in seen]
    async with samples.read() as session:
        complete = select(Sample.id).order_by(Sample.rank, Sample.id)
        assert ids == list(await session.scalars(complete))
    assert "page_key_0" not in seen[0] if isinstance(seen[0], dict) else True


async def test_single_column_is_a_list_of_values(samples: Database) -> None:
    statement = select(Sample.label).order_by(Sample.label.desc())
    seen = [label async for page in walk(samples, statement, 4) for label in page]

    async with samples.read() as session:
        assert seen == list(await session.scalars(statement))


@pytest.mark.parametrize("limit", [1, 5, 12])
async def test_composite_primary_key_tells_rows_apart(samples: Database, limit: int) -> None:
    statement = select(Seat).order_by(Seat.price.desc())
    seats = [seat async for page in walk(samples, statement, limit) for seat in page]
    seen = [(seat.price, seat.row, seat.number) for seat in seats]

    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 12


async def test_key_tells_rows_of_several_tables_apart(samples: Database) -> None:
    statement = (
        select(Sample.label, Seat.row, Seat.number).join(Seat, Seat.number == Sample.rank)
    ).where(Sample.rank == 0)
    key = (Sample.id, Seat.row)

    seen = [tuple(r.values()) async for page in walk(samples, statement, 3, key=key) for r in page]

    async with samples.read() as session:
        assert seen == [tuple(row) for row in await session.execute(statement.order_by(*key))]


async def test_groups_are_paged_by_what_they_are_grouped_by(samples: Database) -> None:
    statement = select(Sample.rank, func.count().label("number")).group_by(Sample.rank)

    seen = [row async for page in walk(samples, statement, 1, key=Sample.rank) for row in page]

    assert [(row["rank"], row["number"]) for row in seen] == [(-5, 9), (0, 8), (7, 8)]


async def test_inserts_and_deletes_shift_no_rows(samples: Database) -> None:
    statement = select(Sample).order_by(Sample.happened_at.desc())
    async with samples.read() as session:
        before = {item.id for item in await session.scalars(statement)}
    seen: list[Sample] = []

    async for page in walk(samples, statement, 4):
        seen += page
        async with samples.write() as session:
            # The row of the cursor, an earlier row, and a later row.
            gone = {page[-1].id, page[0].id}
            await session.execute(delete(Sample).where(Sample.id.in_(gone)))
            session.add(sample(len(seen)))

    ids = [item.id for item in seen]
    assert len(ids) == len(set(ids))
    assert before <= set(ids)
    assert all(a.happened_at >= b.happened_at for a, b in pairwise(seen))


async def test_last_page_has_no_next_even_where_it_is_full(samples: Database) -> None:
    async with samples.read() as session:
        page = await paginate(session, select(Seat), PageQuery(limit=12))
        empty = await paginate(session, select(Seat).where(Seat.number > 99), PageQuery())

    assert (len(page.items), page.next) == (12, None)
    assert (empty.items, empty.next) == ([], None)


NULLABLE = select(Sample).order_by(Sample.comment)
REFUSED: dict[str, tuple[Select[*tuple[Any, ...]], str]] = {
    "nullable": (NULLABLE, "samples.comment may be NULL"),
    "float": (select(Sample).order_by(Sample.weight), "samples.weight is of type Double"),
    "native enum": (
        select(Sample).order_by(Sample.native_state),
        "samples.native_state is a native enum",
    ),
    "expression": (select(Sample).order_by(func.lower(Sample.label)), "not lower"),
    "name": (select(Sample).order_by("rank"), "must name columns"),
    "nulls": (select(Sample).order_by(Sample.rank.desc().nulls_last()), "must name columns"),
    "two tables": (select(Sample, Seat.row).join(Seat, literal(True)), "needs `key`"),
    "no table": (select(literal(1)), "needs `key`"),
    "outer join": (
        select(Sample).outerjoin(Seat, Seat.number == Sample.rank).order_by(Seat.row),
        "an outer join may make seats.row NULL",
    ),
}


@pytest.mark.parametrize(("statement", "reason"), REFUSED.values(), ids=REFUSED.keys())
async def test_list_that_would_lose_rows_is_refused(
    samples: Database, statement: Select[*tuple[Any, ...]], reason: str
) -> None:
    async with samples.read() as session:
        with pytest.raises(ValueError, match=reason):
            await paginate(session, statement, PageQuery())


async def test_statements_made_for_one_call_are_forgotten(samples: Database) -> None:
    statement = select(Seat).where(Seat.number > 0).order_by(Seat.price)
    async with samples.read() as session:
        first = await paginate(session, statement, PageQuery(limit=1))
        await paginate(session, statement, PageQuery(limit=1, after=first.next))
    made = weakref.ref(statement)

    del statement
    gc.collect()

    assert made() is None


# Cursors

NEWEST = keyset((OrderColumn(SAMPLES.c.happened_at, True), OrderColumn(SAMPLES.c.id, True)))
PROBES = keyset((OrderColumn(TABLES["probes"].c.id),))


@pytest.mark.parametrize("last_id", [-(2**63), -1, 0, 1, 255, 10**12, 2**63 - 1])
def test_cursor_round_trips(last_id: int) -> None:
    cursor = PROBES.encode((last_id,))

    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert PROBES.decode(cursor) == {"page_after_0": last_id}


def changed(cursor: str) -> list[str]:
    """A cursor with each of its bits flipped, with each end cut off, and with more at its ends."""
    packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    flipped = [
        bytes([*packed[:n], packed[n] ^ (1 << bit), *packed[n + 1 :]])
        for n in range(len(packed))
        for bit in range(8)
    ]
    texts = [urlsafe_b64encode(text).rstrip(b"=").decode() for text in flipped]
    texts += [cursor[:n] for n in range(len(cursor))]
    texts += [cursor[n:] for n in range(1, len(cursor))]
    # The last character has unused bits.
    texts += [cursor[:-1] + chr(ord(cursor[-1]) + 1), cursor + "A", "A" + cursor, cursor + "=="]
    return [text for text in texts if text != cursor]


@pytest.mark.parametrize("order", [PROBES, NEWEST], ids=["number", "time and UUID"])
def test_changed_cursor_is_refused(order: Keyset) -> None:
    values = {PROBES: (77,), NEWEST: (START, UUID(int=1))}[order]

    for text in changed(order.encode(values)):
        with pytest.raises(InvalidCursorError):
            order.decode(text)


def test_cursor_of_another_order_is_refused() -> None:
    seat, probe = TABLES["seats"].c.number, TABLES["probes"].c.id
    for other in (OrderColumn(seat), OrderColumn(probe, descending=True)):
        with pytest.raises(InvalidCursorError):
            PROBES.decode(keyset((other,)).encode((1,)))


def test_value_that_is_too_long_for_a_cursor_is_refused() -> None:
    labels = keyset((OrderColumn(SAMPLES.c.label),))
    longest = "x" * (MAX_CURSOR * 3 // 4 - 10)

    assert labels.decode(labels.encode((longest,)))
    with pytest.raises(ValueError, match="too long"):
        labels.encode((longest + "x" * 20,))


def forge(order: Keyset, text: bytes) -> str:
    """A cursor with a valid checksum for a forged text."""
    checksum = zlib.crc32(text, order._order).to_bytes(4, "big")
    return urlsafe_b64encode(checksum + text).rstrip(b"=").decode()


FORGED = [
    *(b"", b"[]", b"{}", b"[null]", b"[1,2]", b'["1"]', b"[1.0]", b"[ 1]", b"[true]", b"[NaN]"),
    *(b"\xff", b"[9223372036854775808]", b"[" + b"9" * 3000 + b"]", b"[" * 2000),
]


@pytest.mark.parametrize("text", FORGED)
def test_forged_cursor_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidCursorError):
        PROBES.decode(forge(PROBES, text))


async def test_value_that_a_type_rejects_is_an_invalid_cursor(samples: Database) -> None:
    # A datetime without an offset, which `UTCDateTime` rejects.
    assert isinstance(SAMPLES.c.happened_at.type, UTCDateTime)
    text = b'["2026-01-02T03:04:05","00000000-0000-0000-0000-000000000000"]'
    page = PageQuery(after=forge(NEWEST, text))

    async with samples.read() as session:
        with pytest.raises(InvalidCursorError):
            await paginate(session, select(Sample).order_by(Sample.happened_at.desc()), page)


FOREIGN = {
    "empty": "",
    "a number": "1",
    "text": "next",
    "zeros": "AAAAAAAAAAAAAAAA",
    "too long": "A" * 10_000,
    "as long as may be": "A" * MAX_CURSOR,
    "other letters": "öööööööööööööööö",
    "SQL": "1' OR '1'='1",
    "NUL": "\x00" * 16,
    "another list's": NEWEST.encode((START, UUID(int=1))),
}


@pytest.mark.parametrize("cursor", FOREIGN.values(), ids=FOREIGN.keys())
async def test_cursor_that_is_not_ours_is_422(probe_client: AsyncClient, cursor: str) -> None:
    response = await probe_client.get("/probes", params={"after": cursor})

    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "9" * 5000])
async def test_limit_out_of_range_is_422(probe_client: AsyncClient, limit: str) -> None:
    response = await probe_client.get("/probes", params={"limit": limit})

    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["query.limit"]


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
async def test_clients_walk_by_next(
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


async def test_filter_is_a_query_parameter_beside_the_page(
    probe_database: Database, probe_client: AsyncClient
) -> None:
    await add_probes(probe_database, "a", "b")
    cursor = PROBES.encode((-1,))

    params: dict[str, str]
    for params in ({"name": "b"}, {"name": "b", "limit": "1", "after": cursor}):
        page = (await probe_client.get("/probes", params=params)).json()
        assert ([item["name"] for item in page["items"]], page["next"]) == (["b"], None)
