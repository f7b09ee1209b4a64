"""Migrations: their SQL, and the message without a database."""

import re
from pathlib import Path

import pytest
from alembic import command

from app.kit.migrations import upgrade as migrate
from tests.kit.application import make_settings
from tests.kit.faults import unreachable_url


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What `alembic upgrade head --sql` prints."""
    command.upgrade(migrate.alembic_config(), "head", sql=True)
    return capsys.readouterr().out


def test_sql_of_the_migrations_can_be_printed(printed: str) -> None:
    assert "CREATE TABLE idempotency_keys" in printed
    assert "INSERT INTO alembic_version" in printed
    # SQL*Plus runs a statement when it sees a line with a slash.
    statements = [part.strip() for part in re.split(r"^/$", printed, flags=re.MULTILINE)]
    assert all(re.match(r"(--.*\n+)*(CREATE|ALTER|INSERT|UPDATE|DROP)|\Z", s) for s in statements)


def test_printed_sql_has_no_parameters(printed: str) -> None:
    assert not re.search(r":\w|%\(|\?", printed)


def test_printed_tables_have_types_that_lose_nothing(printed: str) -> None:
    assert "created_at TIMESTAMP WITH TIME ZONE NOT NULL" in printed
    assert not re.search(r"\bDATE\b|\bDATETIME\b|SERIAL|\bTEXT\b", printed)


def test_unreachable_database_is_one_line(tmp_path: Path) -> None:
    settings = make_settings(unreachable_url(tmp_path), database_connect_timeout=1)

    with pytest.raises(SystemExit) as end:
        migrate.main(settings)

    assert "DATABASE_URL right?" in str(end.value.code)
