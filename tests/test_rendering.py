"""Every combination of answers renders a whole, tidy project that is silent about its origin."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Render
from projects import files_of
from questionnaire import ASKED, ROOT, Answers, complete, values

# What there is with an answer, and which words nobody reads without it.
EXAMPLE = ["app/example/favorites/*", "app/example/items/*", "app/example/transfers/*", "app/example/users/*", "tests/example/*"]
MIGRATIONS = ["app/kit/db/migrate.py", "migrations/env.py", "migrations/script.py.mako"]
REPLICA = [
    "app/kit/replicas/database.py",
    "app/kit/replicas/position.py",
    "app/kit/replicas/read_your_writes.py",
    "tests/kit/replicas/standby.py",
    "tests/test_replica.py",
]
PGBOUNCER = ["tests/kit/pgbouncer/server.py", "tests/test_pgbouncer.py"]
CONTAINERS = ["Dockerfile", ".dockerignore", "compose.yaml"]
METRICS = [
    "app/kit/metrics/prometheus.py",
    "app/kit/metrics/multiprocess.py",
    "monitoring/grafana.json",
]
KUBERNETES = ["kubernetes/*.yaml"]
PARTS: list[tuple[str, Any, list[str], str]] = [
    ("migrations", True, MIGRATIONS, r"alembic|app\.db\.migrate|/migrations"),
    ("read_replica", True, REPLICA, r"app\.db\.repl|database_replica|your_writes|tests\.standby"),
    ("pgbouncer", True, PGBOUNCER, r"tests\.pgbouncer"),
    ("example", True, EXAMPLE, r"app\.(favorites|items|transfers|users)|favorite|/users|/items"),
    ("containers", True, CONTAINERS, r"docker|compose\.yaml"),
    # An autoscaler has some, too.
    ("metrics", True, METRICS, r"^(?!  metrics:$).*metrics|prometheus|grafana"),
    (
        "ci",
        "github",
        [".github/workflows/*.yml", ".github/dependabot.yml"],
        r"\.github(?!\.io)|github actions|dependabot",
    ),
    ("kubernetes", True, KUBERNETES, r"kubectl|app\.kubernetes|kubernetes/"),
    ("ci", "gitlab", [".gitlab-ci.yml"], r"gitlab"),
]
DRIVERS = {database.partition("+")[2] for database in values("database")}

# Names that Windows refuses, and what it cannot tell apart.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]\Z')


def name_of(answers: Answers) -> str:
    """A short name of a combination: what was chosen, and what was answered with yes."""
    chosen = [str(answers[name]).partition("+")[0] for name in ("database", "ci")]
    return "-".join(chosen + [name for name, answer in answers.items() if answer is True])


@pytest.fixture(
    scope="module",
    params=[pytest.param(answers, id=name_of(answers)) for answers in complete()],
)
def answers(request: pytest.FixtureRequest) -> Answers:
    combination: Answers = request.param
    return combination


@pytest.fixture(scope="module")
def project(render: Render, answers: Answers) -> Path:
    return render(answers)


@pytest.fixture(scope="module")
def files(project: Path) -> dict[str, str]:
    """Every file of the project, by its path."""
    return {name: content.decode() for name, content in files_of(project).items()}


def lines_with(pattern: str, files: dict[str, str]) -> list[str]:
    """Every line that matches, as `file:line: text`."""
    return [
        f"{name}:{number}: {line}"
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE)
    ]


def test_files_can_be_parsed(files: dict[str, str]) -> None:
    for name, text in files.items():
        match name.rpartition(".")[2]:
            case "py":
                ast.parse(text, name)
            case "json":
                json.loads(text)
            case "toml":
                tomllib.loads(text)
            case "yaml" | "yml":
                assert list(yaml.safe_load_all(text))


def test_no_jinja_is_left(files: dict[str, str]) -> None:
    # A workflow's `${{ }}` is no Jinja.
    assert lines_with(r"(?<!\$)\{\{ |\{%|\{#", files) == []


def test_each_part_has_its_files_and_leaves_no_trace_without(
    answers: Answers, files: dict[str, str]
) -> None:
    for question, answer, patterns, words in PARTS:
        found = {pattern for pattern in patterns for name in files if fnmatch(name, pattern)}
        # A question that is not asked has no answer.
        if answers.get(question) == answer:
            assert found == set(patterns)
        else:
            assert found == set()
            assert lines_with(words, files | {".copier-answers.yml": ""}) == []


def test_no_other_driver_is_mentioned(answers: Answers, files: dict[str, str]) -> None:
    others = DRIVERS - {answers["database"].partition("+")[2]}
    # The README shows how to change the database, and tests how another one is refused.
    own = {name: text for name, text in files.items() if not name.startswith("tests/")}
    lines = lines_with("|".join(sorted(others)), own)
    assert [line for line in lines if "copier update" not in line] == []


def test_the_template_is_mentioned_only_where_one_updates(files: dict[str, str]) -> None:
    files.pop(".copier-answers.yml")
    readme = files.pop("README.md", "")
    updating = re.compile(r"^## Updat.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    lines = lines_with("copier", files | {"README.md": updating.sub("", readme)})
    assert [line for line in lines if "copier update" not in line] == []


def test_code_is_formatted_and_lint_clean(project: Path) -> None:
    for command in (["format", "--check", "--diff"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        result = subprocess.run(ruff, cwd=project, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


def test_files_begin_with_text_and_end_with_one_newline(files: dict[str, str]) -> None:
    scars = [
        n for n, text in files.items() if text and re.search(r"\A\s|\n\n\Z|[^\n]\Z|\r|\n{4}", text)
    ]
    assert scars == []


def test_names_suit_windows(files: dict[str, str]) -> None:
    assert unsuitable(files) == []


def test_names_in_the_template_suit_windows() -> None:
    folders = [ROOT / "template", ROOT / "variants"]
    paths = [p.relative_to(ROOT).as_posix() for folder in folders for p in folder.rglob("*")]
    assert unsuitable(path for path in paths if "__pycache__" not in path) == []


def unsuitable(paths: Iterator[str] | dict[str, str]) -> list[str]:
    """The paths that Windows refuses, or takes for another."""
    seen: set[str] = set()
    refused = []
    for path in paths:
        parts = path.split("/")
        if path.lower() in seen or any(FORBIDDEN.search(p) or RESERVED.fullmatch(p) for p in parts):
            refused.append(path)
        seen.add(path.lower())
    return refused


def test_rendering_is_deterministic(render: Render) -> None:
    assert files_of(render({})) == files_of(render({}))


def test_every_question_speaks_to_a_person() -> None:
    for name, question in ASKED.items():
        assert question["help"].rstrip(")").strip(), name
        assert re.search(r"\?( \(.+\))?\Z", question["help"]), f"{name} is no question"
        assert "default" in question, name
        closed = "choices" in question or question["type"] == "bool"
        assert closed or "validator" in question, f"{name} accepts anything"
