"""The questionnaire as a person meets it, in a terminal."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pexpect
import pytest
from projects import answers_of, commit_all
from questionnaire import ASKED

COPY = ["-m", "copier", "copy", "--vcs-ref=HEAD"]
ENTER, CTRL_C, CLEAR_LINE = "\r", "\x03", "\x15"
# What is asked of a person who accepts every default.
QUESTIONS = {name: q["help"] for name, q in ASKED.items() if "when" not in q}


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """A folder that does not exist yet."""
    return tmp_path / "project"


@pytest.fixture
def terminal(template: Path, destination: Path) -> Iterator["pexpect.spawn[str]"]:
    """`copier copy` in a terminal that is wide enough for every question."""
    with pexpect.spawn(
        sys.executable,
        [*COPY, str(template), str(destination)],
        # pexpect does not answer when it is asked where the cursor is.
        env=os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        dimensions=(60, 200),
        timeout=60,
    ) as terminal:
        terminal.logfile_read = io.StringIO()
        yield terminal


def test_enter_all_the_way_gives_a_service_on_sqlite(
    terminal: "pexpect.spawn[str]", destination: Path
) -> None:
    said = finish(terminal)
    assert answers_of(destination)["database"] == "sqlite+aiosqlite"
    commands = said.partition("Next:")[2]
    assert re.findall(r"^    (\S.*?)(?:  +#.*)?$", commands, re.MULTILINE) == [
        f'cd "{destination}"',
        "uv sync",
        "uv run pytest",
        "git init -b main",
        'git add -A && git commit -m "Start from the template"',
        "uv run fastapi dev",
    ]


def test_every_question_is_asked_once(terminal: "pexpect.spawn[str]") -> None:
    said = finish(terminal)
    # The terminal shows a question again with its answer.
    shown = re.findall("|".join(map(re.escape, QUESTIONS.values())), said)
    assert [question for question, _ in groupby(shown)] == list(QUESTIONS.values())


def test_wrong_answer_can_be_corrected(terminal: "pexpect.spawn[str]", destination: Path) -> None:
    terminal.expect_exact(QUESTIONS["project_name"])
    terminal.send(CLEAR_LINE + "a/b" + ENTER)
    terminal.expect_exact("Letters (A to Z), digits, spaces")
    terminal.send(CLEAR_LINE + "Stock" + ENTER)
    finish(terminal, after="project_name")
    assert answers_of(destination)["project_name"] == "Stock"


def test_interrupted_questionnaire_leaves_nothing_behind(
    terminal: "pexpect.spawn[str]", destination: Path
) -> None:
    terminal.expect_exact(QUESTIONS["project_name"])
    terminal.send(ENTER)
    terminal.expect_exact(QUESTIONS["project_description"])
    terminal.send(CTRL_C)
    terminal.expect_exact("Execution stopped by user")
    terminal.expect(pexpect.EOF)
    assert terminal.wait() == 1
    assert not destination.exists()


def test_service_in_a_repository_becomes_no_repository_of_its_own(
    template: Path, tmp_path: Path
) -> None:
    commit_all(tmp_path)
    command = [sys.executable, *COPY, "--defaults", str(template), "services/stock"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "git add -A && git commit" in result.stderr
    assert "git init" not in result.stderr


@pytest.mark.parametrize("options", [[], ["--defaults"]])
def test_folder_that_is_not_empty_is_left_alone(
    options: list[str], template: Path, destination: Path
) -> None:
    destination.mkdir()
    (destination / "pyproject.toml").write_text("mine")
    command = [sys.executable, *COPY, *options, str(template), str(destination)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert result.returncode == 1
    assert f"{destination} is not empty" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in destination.iterdir()] == ["pyproject.toml"]
    assert (destination / "pyproject.toml").read_text() == "mine"


def finish(terminal: "pexpect.spawn[str]", after: str | None = None) -> str:
    """Press Enter at every question, or those after one; return all that the terminal said."""
    names = list(QUESTIONS)
    for name in names[names.index(after) + 1 if after else 0 :]:
        terminal.expect_exact(QUESTIONS[name])
        terminal.send(ENTER)
    terminal.expect(pexpect.EOF)
    assert terminal.wait() == 0
    assert isinstance(terminal.logfile_read, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.logfile_read.getvalue()).replace("\r", "")
