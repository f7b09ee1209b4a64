"""What people may answer reaches the project unharmed; the rest is refused with a sentence."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import Render
from projects import answers_of, copy, files_of
from questionnaire import Answers

TUNED: Answers = {"tune_pool": True, "database": "postgresql+asyncpg"}

NAMES = {
    "My Service": "my-service",
    "a": "a",
    "A1": "a1",
    "Orders_2 - the 2nd": "orders-2-the-2nd",
    "x" * 60: "x" * 60,
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
TAKEN = r"is the name of a package .+ for example: \S+ service"
LINE = "one line of printable text"
YES_OR_NO = r"Answer \w+ by yes or no"

REFUSED: list[tuple[str, Any, str]] = [
    *[("project_name", name, NAME) for name in ("", " ", " a", "a ", "-a", "a\n", "a\nb", "a\tb")],
    *[("project_name", name, NAME) for name in ("x" * 61, "../x", "a/b", "a\\b", "C:", "a\0")],
    *[
        ("project_name", name, NAME)
        for name in ("it's", '"a"', "Größe", "🦊", "{{ 7*7 }}", "{% raw %}")
    ],
    *[("project_name", name, TAKEN) for name in ("fastapi", "FastAPI", "pytest_asyncio")],
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
    *[("pool_size", text, "invalid literal") for text in ("", "five", "2.5", "1e3")],
    *[
        (name, value, "")
        for name in ("project_name", "database", "pool_size")
        for value in (None, [1])
    ],
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
    settings = (render(TUNED | numbers) / "app" / "settings.py").read_text(encoding="utf-8")
    for name, number in numbers.items():
        assert re.search(rf"^    database_{name}: .*default={number}\b", settings, re.MULTILINE)


@pytest.mark.parametrize(("question", "answer", "sentence"), REFUSED)
def test_answer_is_refused_with_a_sentence(
    question: str, answer: Any, sentence: str, template: Path, tmp_path: Path
) -> None:
    answers = TUNED | {question: answer}
    with pytest.raises((ValueError, TypeError), match=f"(?s){sentence}"):
        copy(template, tmp_path / "project", answers)
    assert not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    "answers",
    [
        {"databse": "sqlite+aiosqlite"},
        {"distribution_name": "computed"},
        {"pool_size": 7},
        {"tune_pool": True, "pool_pre_ping": True},
        {"migrations": "yes"},
    ],
    ids=["unknown", "computed", "skipped", "skipped-on-sqlite", "other-type"],
)
def test_these_tests_notice_what_copier_drops(answers: Answers, render: Render) -> None:
    with pytest.raises(AssertionError, match=r"no question|was changed"):
        render(answers)


def pyproject(project: Path) -> dict[str, Any]:
    """The project table of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))[
        "project"
    ]
    return table
