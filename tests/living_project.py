"""A service that a team has worked on since it was made.

What they added is in `living/own`, as it lies in the project; what they changed in files of the
template is in `living/edits`, a patch for each. The package `invoices` is their feature, added as
the service's README says. It uses nothing of the example, so that the example can go; what they
changed in the example goes with it.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from projects import commit_all, files_of, git
from questionnaire import ROOT

OWN = ROOT / "tests" / "living" / "own"
EDITS = ROOT / "tests" / "living" / "edits"

# Revisions that Alembic wrote for their models: of their feature, and of the example's changed one.
REVISIONS = "migrations/versions/"
SHELVES = f"{REVISIONS}20261120_1320_shelves.py"
EXAMPLE = f"{REVISIONS}0002_example.py"


def move_in(project: Path) -> Path:
    """Make a fresh, committed copy the project of the team, and commit what they did."""
    for name in own_files(project):
        target = project / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(OWN / name, target)
    if not (project / EXAMPLE).exists():
        for revision in project.glob(f"{REVISIONS}*_invoices.py"):
            text = revision.read_text(encoding="utf-8")
            revision.write_text(text.replace('"0002"', '"0001"'), encoding="utf-8")
    edit(project, edited_files(project))
    commit_all(project)
    return project


def own_files(project: Path) -> Iterator[str]:
    """The files that the team added to a project; revisions only where there are migrations."""
    for name in files_of(OWN):
        if name.startswith(REVISIONS) and not (project / REVISIONS).exists():
            continue
        if name == SHELVES and not (project / EXAMPLE).exists():
            continue
        yield name


def edited_files(project: Path) -> set[str]:
    """The files of the template that the team changed, where there are such files."""
    names = {name.removesuffix(".patch") for name in files_of(EDITS)}
    return {name for name in names if (project / name).exists()}


def added_lines(name: str) -> list[str]:
    """The lines that the team added to a file of the template."""
    patch = (EDITS / f"{name}.patch").read_text(encoding="utf-8")
    return [line[1:] for line in patch.splitlines() if line[:1] == "+" and line[:3] != "+++"]


def edit(project: Path, names: Iterable[str]) -> None:
    """Change files of the template as the team did."""
    for name in names:
        # A patch finds its place by the lines in it: their numbers differ between projects.
        git(project, "apply", "--unidiff-zero", "--recount", str(EDITS / f"{name}.patch"))
