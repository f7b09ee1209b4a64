"""Conventions for migrations that are checked without running them."""

import ast
from collections.abc import Iterator
from pathlib import Path

from alembic.script import ScriptDirectory

from app.kit.migrations.upgrade import alembic_config


def history_has_one_head() -> list[str]:
    """Two revisions that follow the same one leave open which schema is the newest.

    If none of them has been deployed, have one follow the other (its down_revision); otherwise:
    uv run alembic merge heads -m "merge"
    """
    heads = _revisions().get_heads()
    return heads if len(heads) > 1 else []


def new_columns_have_values() -> Iterator[str]:
    """A NOT NULL column without a value for the rows that exist cannot be added to their table.

    Give it a server_default; or add it as nullable, fill it by an UPDATE, and alter it then.
    """
    for revision in _revisions().walk_revisions():
        path = Path(revision.path)
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if _name_of(call) != "add_column":
                continue
            for column in filter(lambda node: _name_of(node) == "Column", ast.walk(call)):
                assert isinstance(column, ast.Call)
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in column.keywords}
                computed = {"Computed", "Identity"} & {_name_of(node) for node in column.args}
                if options.get("nullable") == "False" and not (
                    computed or "server_default" in options
                ):
                    yield f"{path.name}, line {column.lineno}: {ast.unparse(column.args[0])}"


RULES = [history_has_one_head, new_columns_have_values]


def _revisions() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def _name_of(node: ast.AST) -> str:
    return ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
