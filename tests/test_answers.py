"""What people may answer reaches the project unharmed; the rest is refused with a sentence."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Render
from copier.errors import UserMessageError
from projects import (
    answers_of,
    check_answers,
    commit_all,
    copy,
    copy_of,
    files_of,
    git,
    run_update,
    update,
)
from questionnaire import ASKED, Answers

TUNED: Answers = {"tune_pool": True, "database": "postgresql+asyncpg"}

NAMES = {
    "My Service": "my-service",
    "a": "a-service",
    "Service": "service-service",
    "Orders_2 - the 2nd": "orders-2-the-2nd-service",
    "x" * 60: "x" * 60 + "-service",
    # uv refuses a project with the name of a package that it depends on.
    "FastAPI": "fastapi-service",
    "pytest_asyncio": "pytest-asyncio-service",
}

DESCRIPTIONS = [
    "Größe, 数量, 🦊 and e\u0301",
    "\"double\", 'single', \"\"\"triple\"\"\", '''triple''' and `back`",
    "a \\ backslash, \\n, \\u0000 and %s %(here)s $HOME $(id) `id`",
    "{{ 7*7 }} {% raw %} {# comment #} {% endraw %} ${{ github.token }}",
    "key: value, # comment",
    "- item",
    "[table]",
    "<script>alert(1)</script> & <!-- -->",
    " surrounded ",
    "null",
    "1.0",
    "x" * 200,
]

NAME = r'Letters \(A to Z\), digits, spaces, "-" and "_" only.+for example: My Service'
LINE = "one line of printable text"
YES_OR_NO = r"Answer \w+ by yes or no"
NUMBER = r"Answer pool_size by a whole number"

REFUSED: list[tuple[str, Any, str]] = [
    *[("project_name", name, NAME) for name in ("", " ", " a", "a ", "-a", "a\n", "a\nb", "a\tb")],
    *[("project_name", name, NAME) for name in ("x" * 61, "../x", "a/b", "a\\b", "C:", "a\0")],
    *[
        ("project_name", name, NAME)
        for name in ("it's", '"a"', "Größe", "🦊", "{{ 7*7 }}", "{% raw %}")
    ],
    *[("project_description", text, "Write one line") for text in ("", "  ")],
    *[("project_description", f"a{c}b", LINE) for c in "\n\r\t\0\x1b\x7f\x85\u2028\u2029\ud800"],
    ("project_description", "a\n", LINE),
    ("project_description", "x" * 201, "200 characters.+has 201"),
    ("python_version", "3.10", "not in"),
    ("python_version", "3.11.7", "not in"),
    ("database", "mysql", "not in"),
    ("database", "sqlite", "not in"),
    ("database", "", "not in"),
    *[("pool_size", number, "from 1 to 1000.+for example: 5") for number in (0, -1, 1001)],
    *[("max_overflow", number, "from 0 to 1000.+for example: 10") for number in (-1, 1001)],
    *[("pool_timeout", number, "from 1 to 60.+for example: 5") for number in (0, -1, 61)],
    *[
        ("pool_recycle", number, "60 to 86400, or -1.+example: 1800")
        for number in (-2, 0, 59, 86401)
    ],
    *[("pool_size", text, NUMBER) for text in ("", "five", "2.5", "1e3", "5\n", None, [1])],
    *[(name, value, "") for name in ("project_name", "database") for value in (None, [1])],
    *[
        (name, value, YES_OR_NO)
        for name in ("migrations", "example", "containers", "tune_pool", "pool_pre_ping")
        for value in ("junk", "nein", "", 2)
    ],
]


@pytest.mark.parametrize("name", NAMES)
def test_project_name_names_the_distribution(name: str, template: Path, tmp_path: Path) -> None:
    project = copy(template, tmp_path / "project", {"project_name": name})
    assert pyproject(project)["name"] == NAMES[name]


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_description_survives_in_every_file_that_it_reaches(
    text: str, template: Path, tmp_path: Path
) -> None:
    project = copy(template, tmp_path / "project", {"project_description": text})
    assert pyproject(project)["description"] == text
    assert answers_of(project)["project_description"] == text
    assert text.strip() in (project / "README.md").read_text(encoding="utf-8")


def test_description_reaches_no_other_file(render: Render) -> None:
    # In code, a quotation mark in it would be an injection.
    project = render({"project_description": "Unmistakable"})
    reached = {name for name, content in files_of(project).items() if b"Unmistakable" in content}
    assert reached == {".copier-answers.yml", "README.md", "pyproject.toml"}


def test_numbers_become_the_defaults_of_settings(render: Render) -> None:
    numbers = {"pool_size": 17, "max_overflow": 0, "pool_timeout": 60, "pool_recycle": -1}
    answers = (render(TUNED | numbers) / "app/kit/answers.py").read_text(encoding="utf-8")
    for name, number in numbers.items():
        assert f"\n{name.upper()} = {number}\n" in answers


@pytest.mark.parametrize(("question", "answer", "sentence"), REFUSED)
def test_answer_is_refused_with_a_sentence(
    question: str, answer: Any, sentence: str, template: Path, tmp_path: Path
) -> None:
    answers = TUNED | {question: answer}
    with pytest.raises((ValueError, TypeError, UserMessageError), match=f"(?s){sentence}"):
        copy(template, tmp_path / "project", answers)
    assert not (tmp_path / "project").exists()


MYSQL, POSTGRESQL = "mysql+aiomysql", "postgresql+asyncpg"
# What one command line asks for, and why it cannot be.
CONTRADICTIONS: dict[str, tuple[Answers, str]] = {
    "replica": ({"read_replica": True}, "read_replica does not apply to SQLite.+PostgreSQL or My"),
    "pgbouncer": (
        {"pgbouncer": "yes", "database": MYSQL},
        "pgbouncer does not apply to MySQL.+choose PostgreSQL",
    ),
    "kubernetes": ({"kubernetes": "on"}, "kubernetes does not apply to SQLite.+with a server"),
    "containers": (
        {"kubernetes": True, "containers": False, "database": MYSQL},
        "kubernetes needs containers",
    ),
    "file": ({"pool_recycle": "60"}, "pool_recycle does not apply to SQLite"),
    "ping": ({"pool_pre_ping": True, "tune_pool": True}, "pool_pre_ping does not apply to SQLite"),
    "tune": ({"pool_size": 7, "tune_pool": False}, "pool_size has no effect with tune_pool=no"),
    "typo": ({"databse": MYSQL}, "There is no question databse. The questions are: .+database,"),
    "computed": ({"distribution_name": "mine"}, "There is no question distribution_name"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_answers_that_contradict_each_other_are_refused(
    case: str, template: Path, tmp_path: Path
) -> None:
    answers, sentence = CONTRADICTIONS[case]
    for ordered in (answers, dict(reversed(answers.items()))):
        with pytest.raises(UserMessageError, match=sentence):
            copy(template, tmp_path / "project", ordered)
    assert not (tmp_path / "project").exists()


def test_refused_command_ends_in_one_line(template: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "copier", "copy", "--defaults", "--vcs-ref=HEAD", "--quiet"]
    command += ["-dpgbouncer=true", str(template), str(tmp_path / "project")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "pgbouncer does not apply to SQLite" in result.stderr


def test_refusal_names_every_question(template: Path, tmp_path: Path) -> None:
    with pytest.raises(UserMessageError) as error:
        copy(template, tmp_path / "project", {"databse": MYSQL})
    named = re.search(r"The questions are: ([\w, ]+)\.", str(error.value))
    assert named
    assert sorted(named[1].split(", ")) == sorted(ASKED)


@pytest.mark.parametrize("answer", ["yes", "Y", "on", "1", "True", "no", "N", "off", "0", "False"])
def test_yes_and_no_may_be_written_in_many_ways(
    answer: str, template: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    run = [sys.executable, "-m", "copier", "copy", "--defaults", "--vcs-ref=HEAD", "--quiet"]
    subprocess.run([*run, f"-dmetrics={answer}", str(template), str(project)], check=True)
    assert answers_of(project)["metrics"] is (answer.lower() in {"yes", "y", "on", "1", "true"})


def test_number_of_the_pool_says_that_it_is_tuned(template: Path, tmp_path: Path) -> None:
    project = copy(template, tmp_path / "project", {"pool_size": 7})
    assert answers_of(project)["tune_pool"] is True
    commit_all(project)
    update(project, {"tune_pool": False})
    commit_all(project)

    update(project, {"pool_timeout": 9})

    check_answers(project, {"tune_pool": True, "pool_size": 7, "pool_timeout": 9})
    assert "POOL_SIZE = 7\n" in (project / "app/kit/answers.py").read_text()
    commit_all(project)
    update(project, {})
    assert git(project, "status", "--porcelain") == ""


def test_answer_that_does_not_apply_is_kept_for_later(fresh: Render) -> None:
    rich: Answers = {"database": POSTGRESQL, "kubernetes": True, "pool_size": 7}
    project = copy_of(fresh(rich))
    for answers in ({"containers": False, "tune_pool": False}, {"database": "sqlite+aiosqlite"}):
        update(project, answers)
        commit_all(project)
        check_answers(project, {"kubernetes": True, "pool_size": 7})
        assert not (project / "kubernetes").exists()
        assert "POOL_SIZE = 5\n" in (project / "app/kit/answers.py").read_text()

    update(project, {"database": POSTGRESQL, "containers": True, "tune_pool": True})

    assert files_of(project) == files_of(fresh(rich))


def test_update_refuses_what_its_own_command_line_contradicts(fresh: Render) -> None:
    project = copy_of(fresh({"containers": False, "database": POSTGRESQL}))
    for answers, sentence in (
        ({"databse": MYSQL}, "There is no question databse"),
        ({"kubernetes": True}, "kubernetes needs containers"),
        ({"pgbouncer": True, "database": MYSQL}, "pgbouncer does not apply to MySQL"),
    ):
        with pytest.raises(UserMessageError, match=sentence):
            run_update(project, answers)
        assert git(project, "status", "--porcelain") == ""


def test_retired_question_is_no_obstacle(fresh: Render) -> None:
    project = copy_of(fresh({}))
    with (project / ".copier-answers.yml").open("a") as file:
        file.write("retired: true\n")
    commit_all(project)

    update(project, {"metrics": True})

    assert "retired" not in answers_of(project)


def test_these_tests_notice_what_copier_changes(render: Render) -> None:
    with pytest.raises(AssertionError, match="was changed"):
        render({"migrations": "yes"})


def pyproject(project: Path) -> dict[str, Any]:
    """The project table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    return table
