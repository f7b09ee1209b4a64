"""Autogenerate: each revision that it writes runs, can be undone, and leaves no difference."""

import enum
from typing import Any

import pytest
import sqlalchemy as sa

from tests.kit.migration_project import Project, new_metadata, project, table

__all__ = ["project"]


class State(enum.Enum):
    """As an owner writes it."""

    OPEN = "open"
    PAID = "paid"


class LongerState(enum.Enum):
    """With one more member, in the middle."""

    OPEN = "open"
    SENT = "sent"
    PAID = "paid"


def column_of(kind: type[enum.Enum], **options: Any) -> sa.Column[Any]:
    return sa.Column("state", sa.Enum(kind, name="state"), **options)


async def test_enum_of_a_new_table_comes_and_goes(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "orders", column_of(State, nullable=False))
    await project.migrate(metadata)

    assert "orders" in await project.migrate(new_metadata())
    await project.migrate(metadata)


async def test_enum_can_be_added_to_tables_that_exist(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "orders")
    await project.migrate(metadata)

    metadata = new_metadata()
    table(metadata, "orders", column_of(State))
    await project.migrate(metadata)

    table(metadata, "invoices", column_of(State))
    await project.migrate(metadata)


async def test_enum_gets_a_member(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "orders", column_of(State))
    await project.migrate(metadata)

    metadata = new_metadata()
    table(metadata, "orders", column_of(LongerState))
    await project.migrate(metadata)
    await project.execute("INSERT INTO orders (id, state) VALUES (1, 'SENT')")


@pytest.mark.parametrize(
    ("kind", "default"),
    [
        (sa.JSON(), "{}"),
        (sa.String(50), ""),
        (sa.String(50), "it's"),
        (sa.String(50), "'quoted'"),
        (sa.String(50), sa.text("'text'")),
        (sa.Boolean(), sa.false()),
        (sa.Boolean(), sa.text("false")),
        (sa.Integer(), "0"),
        (sa.Integer(), sa.text("1 + 1")),
        (sa.Numeric(12, 2), "2.50"),
        (sa.DateTime(), sa.func.now()),
    ],
)
async def test_server_default_is_compared_by_what_it_means(
    project: Project, kind: Any, default: Any
) -> None:
    if isinstance(default, sa.TextClause) and "+" in default.text:
        default = sa.text(f"({default.text})")
    metadata = new_metadata()
    table(metadata, "things", sa.Column("value", kind, server_default=default))
    await project.migrate(metadata)

    metadata = new_metadata()
    table(metadata, "things", sa.Column("value", kind))
    assert await project.differences(metadata)
    await project.migrate(metadata)


async def test_changed_server_default_is_noticed(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "things", sa.Column("value", sa.String(9), server_default="a"))
    await project.migrate(metadata)

    metadata = new_metadata()
    table(metadata, "things", sa.Column("value", sa.String(9), server_default="b"))
    assert await project.differences(metadata)
    await project.migrate(metadata)


async def test_tables_of_others_are_left_alone(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "orders")
    table(metadata, "ours_for_now")
    await project.migrate(metadata)
    await project.execute("CREATE TABLE of_another_application (id INTEGER PRIMARY KEY)")
    assert await project.differences(metadata) == ""

    metadata = new_metadata()
    table(metadata, "orders")
    assert await project.differences(metadata)
    project.ignored = ("ours_*",)
    assert await project.differences(metadata) == ""


async def test_tables_that_refer_to_each_other_come_and_go(project: Project) -> None:
    metadata = new_metadata()
    leader = sa.ForeignKey("people.id", use_alter=True, name="fk_teams_leader")
    table(metadata, "teams", sa.Column("leader", sa.Integer, leader))
    table(metadata, "people", sa.Column("team", sa.Integer, sa.ForeignKey("teams.id")))
    revision = await project.migrate(metadata)
    assert "fk_teams_leader" in revision


async def test_tables_are_dropped_before_those_that_they_refer_to(project: Project) -> None:
    metadata = new_metadata()
    table(metadata, "a")
    parent = sa.Column("parent", sa.Integer, sa.ForeignKey("a.id"), index=True)
    table(metadata, "b", parent)
    table(metadata, "c", sa.Column("parent", sa.Integer, sa.ForeignKey("b.id"), index=True))
    await project.migrate(metadata)

    await project.migrate(new_metadata())
