"""Nobody has to trust the template: it runs no code of its own on anyone's machine."""

from pathlib import Path

import pytest
from projects import answers_of, commit_all, copy, git, update
from questionnaire import ASKED, CONFIG

DEFAULTS = {name: q["default"] for name, q in ASKED.items() if "when" not in q}
DEFAULTS["tune_pool"] = False


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A project with the default answers, copied without trust and committed."""
    project = copy(template, tmp_path / "project", {})
    commit_all(project)
    return project


def test_template_has_nothing_that_needs_trust() -> None:
    assert CONFIG.keys() & {"_tasks", "_migrations", "_jinja_extensions", "_external_data"} == set()


def test_copy_without_trust_has_the_default_answers(project: Path) -> None:
    assert answers_of(project) == DEFAULTS


def test_update_that_changes_nothing_leaves_a_clean_tree(project: Path) -> None:
    update(project, {})
    assert git(project, "status", "--porcelain") == ""
