"""Copy and update projects as people do, but strictly: what Copier would swallow is an error here.

Copier drops an answer to a question that does not exist or is not asked, and computes a value that
was given. pytest-copie puts exceptions aside. A test would pass, and have tested something else.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import copier
import yaml
from questionnaire import ROOT, Answers

GIT = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "safe.directory=*"]


# Copier makes three copies for each update, and clones the template: on a disk that is slow.
MEMORY = "TESTS_IN_MEMORY"


@contextmanager
def temporary_files_in_memory() -> Iterator[None]:
    """Have temporary files in the memory that tests share, if there is any."""
    before = tempfile.tempdir
    tempfile.tempdir = os.environ.get(MEMORY, before)
    try:
        yield
    finally:
        tempfile.tempdir = before


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    command = [*GIT, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit_all(folder: Path) -> None:
    """Commit everything in a folder, which becomes a repository if it is none."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=Snapshot")


def snapshot(destination: Path) -> Path:
    """Commit the working tree to a repository of its own: what is tracked, and what would be.

    Copier would take the newest tag instead of the working tree, and from a tree with uncommitted
    changes it would remember a commit that no update can find.
    """
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split(
        "\0"
    ):
        source = ROOT / name
        if source.is_file():
            target = destination / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    commit_all(destination)
    return destination


def copy(template: Path, project: Path, answers: Answers) -> Path:
    """Copy the template without trust."""
    with temporary_files_in_memory():
        copier.run_copy(
            str(template),
            project,
            data=answers,
            defaults=True,
            vcs_ref="HEAD",
            quiet=True,
            unsafe=False,
        )
    check_answers(project, answers)
    return project


def update(project: Path, answers: Answers) -> None:
    """Update a committed project without trust, change answers, and meet no conflict."""
    run_update(project, answers)
    assert conflicts_of(project) == []


def run_update(project: Path, answers: Answers) -> None:
    """Update a committed project without trust, and change answers."""
    with temporary_files_in_memory():
        copier.run_update(
            project,
            data=answers,
            defaults=True,
            overwrite=True,
            vcs_ref="HEAD",
            quiet=True,
            unsafe=False,
        )
    check_answers(project, answers)


def update_by_command(project: Path, *options: str) -> str:
    """Update a committed project as its owner does, and return what Copier says."""
    command = [sys.executable, "-m", "copier", "update", "--defaults", "--vcs-ref=HEAD", *options]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stderr


def conflicts_of(project: Path) -> list[str]:
    """The files that an update left with both sides of a conflict in them."""
    stages = git(project, "ls-files", "--unmerged", "-z").split("\0")
    return sorted({stage.partition("\t")[2] for stage in stages if stage})


def answers_of(project: Path) -> Answers:
    """The answers that the project remembers."""
    text = (project / ".copier-answers.yml").read_text(encoding="utf-8")
    return {k: v for k, v in yaml.safe_load(text).items() if not k.startswith("_")}


def check_answers(project: Path, asked: Answers) -> None:
    """Fail unless the project remembers every answer as it was given, and as the same type."""
    remembered = answers_of(project)
    for name, answer in asked.items():
        assert name in remembered, f"{name} is no question, or it was not asked"
        assert repr(remembered[name]) == repr(answer), f"{name} was changed"


def files_of(project: Path) -> dict[str, bytes]:
    """Every file of a project, by its path with forward slashes."""
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(project).parts[:1]
    }


def without_revisions(project: Path) -> dict[str, bytes]:
    """All files but what Copier remembers, and the revisions, which are their owner's."""
    files = files_of(project)
    ours = files.keys() - revisions_of(project).keys() - {".copier-answers.yml"}
    return {name: files[name] for name in sorted(ours)}


def revisions_of(project: Path) -> dict[str, bytes]:
    """The migrations of the project."""
    files = files_of(project)
    return {name: files[name] for name in files if name.startswith("migrations/versions/")}


def copy_of(project: Path, folder: Path | None = None) -> Path:
    """A copy of a project, to work on; in memory, unless there is a folder for it."""
    parent = tempfile.mkdtemp(dir=folder or os.environ.get(MEMORY))
    return Path(shutil.copytree(project, Path(parent) / "project"))
