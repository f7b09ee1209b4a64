"""Conventions for models."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import DateTime, Float, PrimaryKeyConstraint
from sqlalchemy.types import TypeEngine

from app.kit.db import Base
from app.models import METADATA

ROOT = Path(__file__).parents[3]
MONEY = re.compile(
    r"price|amount|balance|cost|fee|salary|budget|total|tax|discount|revenue|payment|wage", re.I
)


def models_are_listed() -> Iterator[str]:
    """A table that app/models.py does not lead to is unknown to migrations and to readiness.

    Import the module there, or in a module that it imports.
    """
    seen: set[Path] = set()
    _follow(ROOT / "app/models.py", seen)
    for path in sorted((ROOT / "app").rglob("*.py")):
        of_kit = path.is_relative_to(ROOT / "app/kit")
        if not of_kit and path not in seen and _defines_tables(path):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts)


def constraints_have_names() -> Iterator[str]:
    """A constraint without a name cannot be altered or dropped by a later migration.

    Give it one, as in CheckConstraint("price >= 0", "price_not_negative"); Base names the other
    kinds itself, if the table is on its metadata.
    """
    for table in METADATA.tables.values():
        for constraint in table.constraints:
            columns = ", ".join(column.name for column in getattr(constraint, "columns", ()))
            # A table without a primary key has an empty one.
            empty = isinstance(constraint, PrimaryKeyConstraint) and not columns
            if not empty and not isinstance(constraint.name, str):
                yield f"{table.name}: {type(constraint).__name__}({columns})"


def relationships_raise() -> Iterator[str]:
    """A lazy-loading relationship runs SQL where no await is possible, and fails.

    Write lazy="raise" on it, and load it in the statement: .options(selectinload(User.items)).
    """
    for mapper in Base.registry.mappers:
        for relationship in mapper.relationships:
            if relationship.lazy not in ("raise", "raise_on_sql", "write_only"):
                yield f"{mapper.class_.__name__}.{relationship.key}"


def datetimes_are_aware() -> Iterator[str]:
    """A time without an offset is no point in time, and databases differ in what they make of it.

    Use UTCDateTime of app.kit.db, which takes any offset and returns UTC.
    """
    return _columns_of(DateTime)


def money_is_exact() -> Iterator[str]:
    """A float cannot hold 0.10, so that sums of money drift.

    Use Money of app.kit.db.
    """
    return (name for name in _columns_of(Float) if MONEY.search(name.partition(".")[2]))


RULES = [
    models_are_listed,
    constraints_have_names,
    relationships_raise,
    datetimes_are_aware,
    money_is_exact,
]


def _columns_of(kind: type[TypeEngine[Any]]) -> Iterator[str]:
    for table in METADATA.tables.values():
        yield from (f"{table.name}.{c.name}" for c in table.columns if isinstance(c.type, kind))


def _follow(path: Path, seen: set[Path]) -> None:
    """Add the modules of the service that a module imports, directly or not."""
    seen.add(path)
    for node in _executed(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(path.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (package, node.module)))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            target = ROOT.joinpath(*name.split("."))
            for file in (target.with_suffix(".py"), target / "__init__.py"):
                if file not in seen and file.is_file() and file.is_relative_to(ROOT / "app"):
                    _follow(file, seen)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module without what is for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            yield node
            yield from _executed(node)


def _defines_tables(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Name) and node.id == "__tablename__":
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Table":
            return True
    return False
