"""What the database refuses, and what changes under the service while it runs."""

import asyncio
import threading
import time

import pytest

from faults.waiting import wait_until
from faults.world import World

# Seconds: a busy machine may take longer than usual for what is tried again, and then refused.
PATIENCE = "30"

# SQLSTATE and the status that it means; those at 201 pass, are tried again, and succeed unseen.
SQLSTATES = {
    "22001": 422,  # string_data_right_truncation
    "22003": 422,  # numeric_value_out_of_range
    "22P02": 422,  # invalid_text_representation
    "23502": 422,  # not_null_violation
    "23503": 409,  # foreign_key_violation
    "23505": 409,  # unique_violation
    "23514": 422,  # check_violation
    "25006": 503,  # read_only_sql_transaction
    "42P01": 503,  # undefined_table
    "53100": 503,  # disk_full
    "53200": 503,  # out_of_memory
    "53300": 503,  # too_many_connections
    "55P03": 503,  # lock_not_available
    "57014": 504,  # query_canceled
    "57P01": 503,  # admin_shutdown
    "58030": 503,  # io_error
    "40001": 201,  # serialization_failure
    "40P01": 201,  # deadlock_detected
}


def test_sqlstates(world: World) -> None:
    """Each is what it means to a client; those that pass are retried unseen."""
    world.start(REQUEST_TIMEOUT=PATIENCE)
    # A sequence counts what is rolled back, too: what is worth another attempt works at the third.
    world.database.query("CREATE SEQUENCE attempts")
    world.database.query("GRANT ALL ON SEQUENCE attempts TO service")
    world.database.query(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.name LIKE '40%' AND nextval('attempts') % 3 = 0 THEN RETURN NEW; END IF; "
        "RAISE EXCEPTION 'secret detail' USING ERRCODE = NEW.name; END $$"
    )
    world.database.query(
        "CREATE TRIGGER fail BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    for sqlstate, status in SQLSTATES.items():
        answer = world.ask("POST", "/items", {"name": sqlstate, "price": "1.00"})
        answer.operation = f"SQLSTATE {sqlstate}"
        world.answers_well(answer, status)
        world.verdict.expect("secret detail" not in answer.text, f"{sqlstate} shows its message")
    (rows,) = world.database.query("SELECT count(*) FROM items")
    world.verdict.expect(rows == (2,), f"{rows[0]} rows instead of 2")
    world.verdict.note(f"{len(SQLSTATES)} codes")


# The same of MySQL and MariaDB, whose error numbers say more than their SQLSTATEs.
ERROR_NUMBERS = {
    1021: 503,  # disk full
    1040: 503,  # too many connections
    1048: 422,  # column cannot be null
    1053: 503,  # shutdown
    1062: 409,  # duplicate entry
    1114: 503,  # table full
    1146: 503,  # no such table
    1205: 503,  # lock wait timeout
    1264: 422,  # out of range
    1290: 503,  # read only
    1317: 504,  # interrupted
    1406: 422,  # too long
    1452: 409,  # foreign key
    1213: 201,  # deadlock
    1020: 201,  # the row has changed
}


@pytest.mark.parametrize("kind", ["mysql"], indirect=True)
def test_error_numbers(world: World) -> None:
    """Each is what it means to a client; those that pass are retried unseen."""
    world.start(REQUEST_TIMEOUT=PATIENCE)
    # This engine knows no rollback: it counts attempts that failed, too.
    world.database.query("CREATE TABLE attempts (name varchar(200)) ENGINE = MyISAM")
    cases = "".join(
        f"WHEN '{number}' THEN SIGNAL SQLSTATE '45000' "
        f"SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'secret detail'; "
        for number in ERROR_NUMBERS
    )
    passing = ", ".join(str(number) for number, status in ERROR_NUMBERS.items() if status == 201)
    world.database.query(
        "CREATE TRIGGER fail BEFORE INSERT ON items FOR EACH ROW BEGIN "
        "INSERT INTO attempts VALUES (NEW.name); "
        f"IF NEW.name NOT IN ({passing}) "
        "OR (SELECT count(*) FROM attempts WHERE name = NEW.name) < 3 "
        f"THEN CASE NEW.name {cases} END CASE; END IF; END"
    )
    for number, status in ERROR_NUMBERS.items():
        answer = world.ask("POST", "/items", {"name": str(number), "price": "1.00"})
        answer.operation = f"error {number}"
        world.answers_well(answer, status)
        world.verdict.expect("secret detail" not in answer.text, f"{number} shows its message")
    (rows,) = world.database.query("SELECT count(*) FROM items")
    world.verdict.expect(rows == (2,), f"{rows[0]} rows instead of 2")
    world.verdict.note(f"{len(ERROR_NUMBERS)} numbers")


def test_deadlock_is_retried_unseen(world: World) -> None:
    world.start()
    first, second = world.accounts[:2]
    body = {"from_user_id": first, "to_user_id": second, "amount": "1.00"}
    answers = []

    async def collide() -> None:
        connection = await world.database.connect()
        await connection.execute(f"BEGIN; SELECT FROM users WHERE id = {second} FOR UPDATE")
        thread = threading.Thread(
            target=lambda: answers.append(world.ask("POST", "/transfers", body))
        )
        thread.start()
        await asyncio.to_thread(
            wait_until, lambda: world.database.waiting_for_locks() == 1, 5, "the transfer waits"
        )
        # Whoever has waited longer notices the deadlock, and is the one that loses.
        await connection.execute(f"SELECT FROM users WHERE id = {first} FOR UPDATE")
        await connection.execute("COMMIT")
        await connection.close()
        await asyncio.to_thread(thread.join)

    asyncio.run(collide())
    deadlocks = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{world.database.name}'"
    wait_until(lambda: world.database.query(deadlocks)[0][0] == 1, 5, "there was a deadlock")
    world.answers_well(answers[0], 201)
    world.verdict.note(f"201 after {answers[0].seconds:.1f} s")


@pytest.mark.parametrize("kind", ["postgresql", "mysql"], indirect=True)
def test_schema_altered_while_running(world: World) -> None:
    world.start()
    if world.database.kind == "postgresql":
        wider = "ALTER TABLE items ALTER COLUMN name TYPE text"
        narrower = "ALTER TABLE items ALTER COLUMN name TYPE varchar(200)"
    else:
        wider = "ALTER TABLE items MODIFY name varchar(300) NOT NULL"
        narrower = "ALTER TABLE items MODIFY name varchar(200) NOT NULL"
    with world.load() as load:
        with world.outage(unseen=True, loses_database=False):
            time.sleep(0.7)
            for statement in (
                "ALTER TABLE items ADD COLUMN color varchar(20)",
                wider,
                "ALTER TABLE users ADD COLUMN nick varchar(20) DEFAULT 'none'",
                narrower,
                "ALTER TABLE items DROP COLUMN color",
            ):
                world.database.query(statement)
                time.sleep(0.4)
        world.recover(load)

    world.verdict.expect(not load.failures(), f"failed: {dict(load.failures())}")
