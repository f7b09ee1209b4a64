"""Many clients want the same rows."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pytest

from faults.crowd import crowd
from faults.load import API
from faults.verdict import tally
from faults.world import World

ALL = pytest.mark.parametrize("kind", ["postgresql", "mysql", "sqlite"], indirect=True)


@ALL
def test_400_transfers_among_3_hot_accounts(world: World) -> None:
    world.start()
    pairs = list(permutations(world.accounts[:3], 2))
    bodies = [
        {"from_user_id": pairs[i % 6][0], "to_user_id": pairs[i % 6][1], "amount": "0.37"}
        for i in range(400)
    ]
    answers = crowd(world, [("POST", f"{API}/transfers", body) for body in bodies], at_once=40)

    statuses = Counter(answer.status or answer.error for answer in answers)
    world.verdict.expect(set(statuses) <= {201, 503}, tally(statuses))
    world.verdict.expect(statuses[201] == 400, f"{400 - statuses[201]} of 400 were not made")
    (count,) = world.database.query("SELECT count(*) FROM transfers")
    world.verdict.expect(count[0] == statuses[201], f"{count[0]} rows for {statuses[201]} made")
    took = max(a.end for a in answers) - min(a.start for a in answers)
    world.verdict.note(f"{statuses[201]} made in {took:.1f} s")


@ALL
def test_overdraft_race(world: World) -> None:
    """A hundred want the same thousand: ten get a hundred each."""
    world.start()
    poor, *others = world.accounts
    bodies = [
        {"from_user_id": poor, "to_user_id": others[i % 7], "amount": "100.00"} for i in range(100)
    ]
    answers = crowd(world, [("POST", f"{API}/transfers", body) for body in bodies], at_once=100)

    statuses = Counter(answer.status or answer.error for answer in answers)
    world.verdict.expect(statuses[201] <= 10, f"{statuses[201]} instead of 10 were made")
    world.verdict.expect(set(statuses) <= {201, 409, 503}, tally(statuses))
    (balance,) = world.database.query(f"SELECT balance FROM users WHERE id = {poor}")
    made = statuses[201] == 10 and balance[0] == 0
    world.verdict.expect(made or statuses[503], f"{statuses[201]} made, {balance[0]} left")
    world.verdict.note(tally(statuses))


@ALL
def test_20_equal_creates(world: World) -> None:
    world.start()
    body = {"username": "same", "email": "same@example.org"}
    answers = crowd(world, [("POST", f"{API}/users", body)] * 20, at_once=20)

    statuses = Counter(answer.status or answer.error for answer in answers)
    world.verdict.expect(statuses == {201: 1, 409: 19}, tally(statuses))
    world.verdict.note("one wins, 19x 409")


@ALL
def test_20_equal_keys(world: World) -> None:
    """The same request with the same key, at once: one row; the others are told so, or to wait."""
    world.start()
    body = {"name": "same", "price": "1.00"}

    def post(_: int) -> int | None:
        return world.ask("POST", "/items", body, {"Idempotency-Key": "same"}).status

    with ThreadPoolExecutor(20) as threads:
        statuses = Counter(threads.map(post, range(20)))
    (rows,) = world.database.query("SELECT count(*) FROM items")
    world.verdict.expect(rows[0] == 1, f"{rows[0]} rows")
    world.verdict.expect(set(statuses) <= {201, 409}, tally(statuses))
    world.verdict.note(tally(statuses))
