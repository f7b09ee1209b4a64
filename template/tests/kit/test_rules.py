"""The conventions for models and routes, each with a violation."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from sqlalchemy import CheckConstraint, Column, DateTime, Float, ForeignKey, MetaData, Table
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from app.kit.web.transaction import ReadSession
from tests.kit.conventions import RULES, check, models, routes


class RuleBase(DeclarativeBase):
    """A separate base, not the service's."""


class Parent(RuleBase):
    """A model with a lazy-loading relationship."""

    __tablename__ = "parents"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("parents.id"))
    parent: Mapped[Any] = relationship("Parent")


@pytest.fixture
def bad_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that breaks the rules for columns."""
    metadata = MetaData()
    columns = [Column("at", DateTime), Column("price", Float), Column("celsius", Float)]
    Table("bad", metadata, *columns, CheckConstraint("price > 0"))
    monkeypatch.setattr(models, "METADATA", metadata)


@pytest.mark.usefixtures("bad_table")
def test_columns_that_lose_something_are_found() -> None:
    assert list(models.datetimes_are_aware()) == ["bad.at"]
    assert list(models.money_is_exact()) == ["bad.price"]


@pytest.mark.usefixtures("bad_table")
def test_constraint_without_a_name_is_found() -> None:
    assert list(models.constraints_have_names()) == ["bad: CheckConstraint()"]


def test_relationship_that_loads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "Base", RuleBase)

    assert list(models.relationships_raise()) == ["Parent.parent"]


def test_models_that_are_not_listed_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, content in {
        "models.py": "import app.listed.models\n",
        "typed/models.py": "class A:\n    __tablename__ = 'typed'\n",
        "listed/other.py": "from .. import models\n",
        "tables/core.py": "table = sa.Table('core', Base.metadata)\n",
    }.items():
        file = tmp_path / "app" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (tmp_path / "app/listed/models.py").write_text(
        "if TYPE_CHECKING:\n    import app.typed.models\nclass B:\n    __tablename__ = 'listed'\n"
    )
    monkeypatch.setattr(models, "ROOT", tmp_path)

    assert list(models.models_are_listed()) == ["app.tables.core", "app.typed.models"]


def test_session_outside_a_transaction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    router = APIRouter()

    @router.get("/plain")
    async def plain(session: ReadSession) -> None:
        pass

    app = FastAPI()
    app.include_router(router, prefix="/api")
    monkeypatch.setattr(routes, "app", app)

    assert list(routes.sessions_are_in_transactions()) == ["GET /api/plain"]


@pytest.mark.usefixtures("bad_table")
async def test_failure_says_what_why_and_how_and_an_exception_is_no_failure(
    request: pytest.FixtureRequest,
) -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        await check(models.money_is_exact, request, set())
    for part in ("bad.price", "cannot hold 0.10", "Use Money"):
        assert part in str(failure.value)

    await check(models.money_is_exact, request, {"bad.price"})


def test_each_rule_says_why() -> None:
    assert all((rule.__doc__ or "").count("\n\n") == 1 for rule in RULES)
    assert len({rule.__name__ for rule in RULES}) == len(RULES)
