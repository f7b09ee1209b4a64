"""However people get the template, and whatever they update with, they arrive at the same files."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
import uv
import yaml
from projects import (
    answers_of,
    commit_all,
    conflicts_of,
    copy,
    git,
    snapshot,
    update_by_command,
    without_revisions,
)
from questionnaire import ASKED, CONFIG
from releases import copy_release
from services import environment

ENTER, CLEAR_LINE = "\r", "\x15"
POSTGRESQL = "postgresql+asyncpg"

OURS = [sys.executable, "-m", "copier"]
LOWEST = [uv.find_uv_bin(), "tool", "run", "--quiet", f"--python={sys.executable}"]
LOWEST += [f"copier@{CONFIG['_min_copier_version']}"]


def run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command as somebody else would, who has none of our environment."""
    return subprocess.run(
        command,
        cwd=folder,
        env=environment(GIT_AUTHOR_NAME="Test", GIT_COMMITTER_NAME="Test", EMAIL="t@example.com"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def edited(template: Path, tmp_path: Path) -> Path:
    """A project of a local checkout without tags, in which somebody has changed two lines."""
    project = copy(template, tmp_path / "project", {"project_name": "Stock"})
    replace(project / "app/kit/answers.py", "POOL_TIMEOUT = 5", "POOL_TIMEOUT = 7")
    commit_all(project)
    replace(project / "app/example/items/__init__.py", "Items", "Our items")
    commit_all(project)
    return project


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_url_with_tags_leads_from_release_to_release(tmp_path: Path) -> None:
    work = tmp_path / "work"
    snapshot(work)
    git(work, "tag", "1000.0.0")
    replace(work / "template/.gitignore.jinja", ".venv/", ".venv/\nreleased/")
    commit_all(work)
    git(work, "tag", "1000.1.0")
    replace(work / "template/.gitignore.jinja", ".venv/", ".venv/\nunreleased/")
    commit_all(work)
    git(tmp_path, "clone", "--quiet", "--bare", str(work), "served.git")
    url = (tmp_path / "served.git").as_uri()
    project = tmp_path / "project"
    first = run([*OURS, "copy", "--defaults", "--vcs-ref=1000.0.0", url, str(project)], tmp_path)
    assert first.returncode == 0, first.stderr
    commit_all(project)

    result = run([*OURS, "update", "--defaults", f"-ddatabase={POSTGRESQL}"], project)

    assert result.returncode == 0, result.stderr
    assert "_commit: 1000.1.0" in (project / ".copier-answers.yml").read_text()
    fresh = copy_release(work, "1000.1.0", tmp_path / "fresh", {"database": POSTGRESQL})
    assert without_revisions(project) == without_revisions(fresh)


@pytest.mark.parametrize("copier", [OURS, LOWEST], ids=["newest", "lowest"])
def test_checkout_without_tags_leads_to_its_head(
    copier: list[str], edited: Path, template: Path, tmp_path: Path
) -> None:
    options = ["--defaults", "-dtune_pool=yes", "-dpool_timeout=9", "-dexample=no"]

    result = run([*copier, "update", *options], edited)

    assert result.returncode == 0, result.stderr
    assert "git checkout HEAD -- FILE" in result.stderr
    # What our tests of edits rely on, with any version of Copier.
    assert conflicts_of(edited) == ["app/kit/answers.py"]
    deleted = git(edited, "diff", "HEAD", "--diff-filter=D", "--name-only").splitlines()
    assert "app/example/items/__init__.py" in deleted
    answers = {"tune_pool": True, "pool_timeout": 9, "example": False, "project_name": "Stock"}
    fresh = without_revisions(copy(template, tmp_path / "fresh", answers))
    conflict = {"app/kit/answers.py"}
    updated = without_revisions(edited)
    assert {n: updated[n] for n in updated.keys() - conflict} == {
        n: fresh[n] for n in fresh.keys() - conflict
    }


def test_lowest_copier_is_the_lowest() -> None:
    result = run([*LOWEST, "--version"], Path.cwd())
    assert result.stdout.split() == ["copier", CONFIG["_min_copier_version"]]


def test_person_is_asked_and_shown_their_earlier_answers(edited: Path, template: Path) -> None:
    with pexpect.spawn(
        sys.executable,
        ["-m", "copier", "update", "--vcs-ref=HEAD"],
        cwd=str(edited),
        env=os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1"},
        encoding="utf-8",
        dimensions=(60, 200),
        timeout=120,
    ) as terminal:
        terminal.logfile_read = io.StringIO()
        for name, question in ASKED.items():
            if "when" in question:
                continue
            terminal.expect_exact(question["help"])
            if name == "project_description":
                terminal.send(CLEAR_LINE + "Keeps the stock.")
            terminal.send(ENTER)
        terminal.expect(pexpect.EOF)
        assert terminal.wait() == 0
        assert "Stock" in terminal.logfile_read.getvalue()
    assert answers_of(edited)["project_name"] == "Stock"
    assert answers_of(edited)["project_description"] == "Keeps the stock."
    changed = re.findall(r"^ M (.+)$", git(edited, "status", "--porcelain"), re.MULTILINE)
    assert set(changed) == {".copier-answers.yml", "README.md", "pyproject.toml"}


@pytest.mark.parametrize(
    "dirty",
    [
        lambda project: (project / "app/main.py").write_text("# not committed\n"),
        lambda project: (project / "new.py").write_text("# not committed\n"),
    ],
    ids=["changed", "new"],
)
def test_project_with_uncommitted_work_is_refused_and_left_alone(
    dirty: Callable[[Path], object], edited: Path
) -> None:
    dirty(edited)
    before = without_revisions(edited)

    result = run([*OURS, "update", "--defaults", "--vcs-ref=HEAD"], edited)

    assert result.returncode == 1
    assert "Please commit or stash your local changes and retry." in result.stderr
    assert "Traceback" not in result.stderr
    assert without_revisions(edited) == before


def test_answer_that_is_wrong_is_refused_and_the_project_left_alone(edited: Path) -> None:
    before = without_revisions(edited)
    command = [*OURS, "update", "--defaults", "--vcs-ref=HEAD", "-ddatabase=postgresql"]

    result = run(command, edited)

    assert result.returncode == 1
    assert without_revisions(edited) == before
    assert git(edited, "status", "--porcelain") == ""


def test_update_in_a_subfolder_of_a_repository_works(template: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    project = copy(template, repository / "services/stock", {})
    (repository / "README.md").write_text("# All our services\n")
    commit_all(repository)

    update_by_command(project, f"-ddatabase={POSTGRESQL}")

    fresh = copy(template, tmp_path / "fresh", {"database": POSTGRESQL})
    assert without_revisions(project) == without_revisions(fresh)
    assert yaml.safe_load((project / "compose.yaml").read_text())
    assert (repository / "README.md").read_text() == "# All our services\n"
