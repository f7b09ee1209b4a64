"""The owner's service runs on every database: its types, its lint, its migration, its own tests."""

from pathlib import Path

import owner_service
import pytest
from conftest import Render
from projects import copy_of
from services import databases, run_uv

DATABASES = [
    pytest.param("sqlite+aiosqlite", id="sqlite"),
    pytest.param("postgresql+asyncpg", id="postgresql"),
    pytest.param("mysql+aiomysql", id="mysql", marks=pytest.mark.long),
]


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, render: Render, on_disk: Path) -> Path:
    """The owner's service, with its migration."""
    project = copy_of(render({"database": request.param, "example": False}), on_disk)
    owner_service.move_in(project)
    with databases(project, "owner") as (url,):
        owner_service.add_migration(project, url)
    return project


# Nothing in it depends on the database.
@pytest.mark.parametrize("service", DATABASES[:1], indirect=True)
def test_code_is_typed_and_lint_clean(service: Path) -> None:
    run_uv(service, "run", "--no-sync", "mypy", "app", *owner_service.own_tests())
    run_uv(service, "run", "--no-sync", "ruff", "check", ".")
    run_uv(service, "run", "--no-sync", "ruff", "format", "--check", ".")


def test_own_tests_pass(service: Path) -> None:
    run_uv(service, "run", "--no-sync", "pytest", "-q", *owner_service.own_tests())
