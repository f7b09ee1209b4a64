"""Squawk reads the SQL of each revision alone: what would stop the requests to a large table?

A revision may do it all the same if a comment in it gives the rule and the reason:

    # squawk: allow ban-drop-column: no release reads it since 2.3
"""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script

from app.kit.migrations.upgrade import PYPROJECT, alembic_config, revisions

# Rules of style, and those about timeouts, which every migration has.
STYLE = (
    "ban-char-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamp-tz",
    "require-enum-value-ordering",
    "require-lock-timeout",
    "require-statement-timeout",
)
ALLOWANCE = re.compile(r"# squawk: allow ([\w-]+): \S")
CURE = (
    "Write it another way (docs/migrations.md), allow it by a comment in the revision, `# squawk: "
    "allow RULE: the reason`, or, if it has run everywhere, set linted_after in [tool.alembic] of "
    "pyproject.toml."
)


def pending() -> list[Script]:
    """The revisions after `linted_after`, without merges, which do nothing."""
    last = alembic_config().get_alembic_option("linted_after")
    scripts = revisions().walk_revisions(base=last or "base")
    return [s for s in scripts if s.revision != last and not isinstance(s.down_revision, tuple)]


def sql_of(script: Script) -> str:
    """What a revision would run."""
    buffer = StringIO()
    config = Config(toml_file=PYPROJECT, output_buffer=buffer)
    command.upgrade(config, f"{script.down_revision or 'base'}:{script.revision}", sql=True)
    return buffer.getvalue()


def lint(sql: str, allowed: list[str], directory: Path) -> list[str]:
    """What Squawk says about statements."""
    path = directory / "revision.sql"
    path.write_text(sql, "utf-8")
    rules = ",".join([*STYLE, *allowed])
    program = Path(sys.executable).with_name("squawk")
    arguments = [str(program), "--reporter=gcc", f"--exclude={rules}", path.name]
    result = subprocess.run(arguments, cwd=directory, capture_output=True, text=True)
    assert result.returncode in (0, 1), result.stderr
    return [line.partition(": ")[2] for line in result.stdout.splitlines()]


def test_linter_is_content_with_each_revision(tmp_path: Path) -> None:
    complaints = []
    for script in pending():
        allowed = ALLOWANCE.findall(Path(script.path).read_text("utf-8"))
        for complaint in lint(sql_of(script), allowed, tmp_path):
            complaints.append(f"{Path(script.path).name}: {complaint}")
    assert not complaints, "\n".join([*complaints, CURE])


def test_linter_finds_what_stops_requests(tmp_path: Path) -> None:
    sql = """
        CREATE INDEX ix ON full_table (id);
        ALTER TABLE full_table ALTER COLUMN id SET NOT NULL;
        ALTER TABLE full_table ADD FOREIGN KEY (id) REFERENCES other (id);
        ALTER TABLE full_table ALTER COLUMN id TYPE TEXT;
        ALTER TABLE full_table RENAME COLUMN id TO number;
        ALTER TABLE full_table DROP COLUMN name;
        ALTER TABLE full_table ADD COLUMN required INTEGER NOT NULL;
    """
    found = "\n".join(lint(sql, ["ban-drop-column"], tmp_path))
    for rule in (
        "require-concurrent-index-creation",
        "adding-not-nullable-field",
        "adding-foreign-key-constraint",
        "changing-column-type",
        "renaming-column",
        "adding-required-field",
    ):
        assert rule in found
    assert "ban-drop-column" not in found


def test_allowance_needs_a_reason() -> None:
    assert ALLOWANCE.findall("# squawk: allow ban-drop-table: it is empty") == ["ban-drop-table"]
    assert ALLOWANCE.findall("# squawk: allow ban-drop-table: ") == []
