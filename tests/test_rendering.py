"""Every combination of answers renders a whole, tidy project that is silent about its origin."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import Render
from projects import copy, files_of
from questionnaire import ASKED, ROOT, Answers, complete, values

Condition = Callable[[Answers], bool]


def yes(name: str) -> Condition:
    # A question that is not asked has no answer.
    return lambda answers: answers.get(name) is True


def no(name: str) -> Condition:
    return lambda answers: answers.get(name) is not True


def on(*backends: str) -> Condition:
    return lambda answers: answers["database"].partition("+")[0] in backends


def ci(system: str) -> Condition:
    return lambda answers: answers["ci"] == system


# A file is rendered if all conditions hold whose pattern it matches; most match none.
CONDITIONS: list[tuple[str, Condition]] = [
    (r"app/example/(users|items|favorites|transfers)/.*", yes("example")),
    (r"app/example/(seed|holdings)\.py", yes("example")),
    (r"tests/example/(?!__init__|test_clock).*", yes("example")),
    (r"migrations/versions/0002_example\.py", yes("example")),
    (r"(app/example/clock/|tests/example/test_clock).*", no("example")),
    # On Oracle, only tests that need no server.
    (
        r"tests/(kit|example)/test_(?!driver|settings|openapi)\w+\.py",
        on("sqlite", "postgresql", "mysql"),
    ),
    (r"tests/(kit|example)/offline/.*", on("oracle")),
    (r"dev\.py|compose\.dev\.yaml|tests/kit/network/.*", on("postgresql", "mysql")),
    (r"app/kit/db/sqlite_connection\.py", on("sqlite")),
    (r"tests/example/test_plans\.py", on("postgresql")),
    (r"tests/kit/conventions/migrated_schema\.py", on("sqlite", "postgresql", "mysql")),
    (r"tests/kit/pgbouncer/.*", yes("pgbouncer")),
    (r"(app|tests)/kit/replicas/.*|docs/replicas\.md", yes("read_replica")),
    (r"(app/kit/)?migrations/.*|(docs|kubernetes)/migrat\w+\.\w+", yes("migrations")),
    (r"tests/kit/(\w+/)?\w*migrat\w*\.py", yes("migrations")),
    (r"tests/kit/test_migration_lint\.py", on("postgresql")),
    (r"app/kit/metrics/.*|tests/kit/test_metrics\.py|monitoring/.*", yes("metrics")),
    (r"Dockerfile|\.dockerignore|compose.*\.yaml", yes("containers")),
    (r"kubernetes/.*", yes("kubernetes")),
    (r"\.github/.*", ci("github")),
    (r"\.gitlab-ci\.yml", ci("gitlab")),
]
# Words that nobody reads unless the condition holds.
WORDS: list[tuple[str, Condition]] = [
    (r"alembic|kit\.migrations|/migrations", yes("migrations")),
    (r"kit\.replicas|kit/replicas|database_replica|your_writes", yes("read_replica")),
    (r"kit\.pgbouncer", yes("pgbouncer")),
    (r"app\.(example\.)?(favorites|items|transfers|users)|favorite|/users|/items", yes("example")),
    (r"docker|compose\.yaml", yes("containers")),
    (r"kit\.metrics|kit/metrics|prometheus_|grafana", yes("metrics")),
    (r"kubectl|app\.kubernetes|kubernetes/", yes("kubernetes")),
    (r"\.github(?!\.io)|github actions|dependabot", ci("github")),
    (r"gitlab", ci("gitlab")),
]
TEMPLATE = ROOT / "template"
ANSWERS = ".copier-answers.yml"
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


def test_files_are_those_of_the_answers(answers: Answers, files: dict[str, str]) -> None:
    assert set(files) == {
        name
        for name in names_in_the_template()
        if all(holds(answers) for pattern, holds in CONDITIONS if re.fullmatch(pattern, name))
    }


def test_every_condition_is_about_a_file() -> None:
    names = names_in_the_template()
    assert [p for p, _ in CONDITIONS if not any(re.fullmatch(p, name) for name in names)] == []


def names_in_the_template() -> set[str]:
    """The files that some service has."""
    names = {
        path.relative_to(TEMPLATE).as_posix().removesuffix(".jinja")
        for path in TEMPLATE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return names - {"{{ _copier_conf.answers_file }}"} | {ANSWERS}


def test_what_was_not_chosen_leaves_no_trace(answers: Answers, files: dict[str, str]) -> None:
    for words, holds in WORDS:
        if not holds(answers):
            assert lines_with(words, files | {ANSWERS: ""}) == []


def test_kit_imports_nothing_of_the_owners(files: dict[str, str]) -> None:
    ours = re.compile(r"app(\.(?!kit\b).*)?")
    assert [
        f"{name}: {module}"
        for name, text in files.items()
        if name.startswith("app/kit/")
        for node in ast.walk(ast.parse(text, name))
        for module in imported_modules(node)
        if ours.fullmatch(module)
    ] == []


def imported_modules(node: ast.AST) -> list[str]:
    """The modules that a statement imports; those of `from package import module`, too."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "the kit imports itself by its full name"
        if node.module == "app":
            return [f"app.{alias.name}" for alias in node.names]
        return [node.module or ""]
    return []


def test_owner_files_are_the_same_for_every_answer(files: dict[str, str]) -> None:
    for name in files:
        if re.fullmatch(r"(app|tests|migrations/versions)/[^/]+", name):
            assert files[name] == (TEMPLATE / name).read_text(encoding="utf-8")


def test_no_other_driver_is_mentioned(answers: Answers, files: dict[str, str]) -> None:
    others = DRIVERS - {answers["database"].partition("+")[2]}
    # The README shows how to change the database, and tests how another one is refused.
    own = {name: text for name, text in files.items() if not name.startswith("tests/")}
    lines = lines_with("|".join(sorted(others)), own)
    assert [line for line in lines if "copier update" not in line] == []


def test_the_template_is_mentioned_only_where_one_updates(files: dict[str, str]) -> None:
    files.pop(ANSWERS)
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
    folders = [TEMPLATE, ROOT / "variants"]
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


def test_rendering_is_deterministic(render: Render, template: Path, tmp_path: Path) -> None:
    again = copy(template, tmp_path / "again", {})
    assert files_of(again) == files_of(render({}))


def test_every_question_speaks_to_a_person() -> None:
    for name, question in ASKED.items():
        assert question["help"].rstrip(")").strip(), name
        assert re.search(r"\?( \(.+\))?\Z", question["help"]), f"{name} is no question"
        assert "default" in question, name
        closed = "choices" in question or question["type"] == "bool"
        assert closed or "validator" in question, f"{name} accepts anything"
