"""A project of the earlier release becomes, by an update, what a fresh copy is now."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import (
    answers_of,
    commit_all,
    copy,
    git,
    revisions_of,
    run_update,
    snapshot,
    update,
    without_revisions,
)
from questionnaire import ASKED, QUESTIONS, Answers
from releases import copy_release, earlier_release, history, questions_of
from switches import PLAIN, RICH, valid

PROFILES: dict[str, Answers] = {
    "default": PLAIN,
    "rich": RICH,
    "bare": {name: False for name, q in ASKED.items() if q["type"] == "bool"} | {"ci": "none"},
    "mysql": {"database": "mysql+aiomysql", "ci": "gitlab", "python_version": "3.13"},
    "oracle": {"database": "oracle+oracledb_async", "migrations": False, "project_name": "a"},
    "postgresql": {"database": "postgresql+asyncpg", "example": False, "containers": False},
}


RELEASE = earlier_release() or ""
# Before the first release there is nothing to update from.
if RELEASE:

    @pytest.fixture(scope="module")
    def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
        """A repository with the earlier release and the working tree, and the former's name."""
        destination = tmp_path_factory.mktemp("history") / "template"
        history(destination, RELEASE)
        return destination, RELEASE

    @pytest.mark.parametrize("profile", PROFILES)
    def test_project_of_the_earlier_release_becomes_a_fresh_copy(
        profile: str, template: tuple[Path, str], tmp_path: Path
    ) -> None:
        repository, release = template
        then = questions_of(repository, release)
        answers = {n: a for n, a in valid(PROFILES[profile]).items() if n in then}
        project = copy_release(repository, release, tmp_path / "project", answers)
        commit_all(project)
        remembered, revisions = answers_of(project), revisions_of(project)

        update(project, {})

        # Questions that are new since then take their defaults in both.
        fresh = copy(repository, tmp_path / "fresh", answers)
        assert without_revisions(project) == without_revisions(fresh)
        assert revisions_of(project) == revisions
        assert answers_of(project) == answers_of(fresh)
        # Of what people answered, nothing is forgotten.
        assert remembered.items() <= answers_of(project).items()

    def test_questions_and_stored_values_are_for_ever(template: tuple[Path, str]) -> None:
        for name, then in questions_of(*template).items():
            if then.get("when") is False or then.get("ask") is False:
                continue
            assert name in ASKED, f"nobody is asked for {name} any more"
            assert QUESTIONS[name]["type"] == then["type"]
            assert stored(then) <= stored(QUESTIONS[name])


def stored(question: Answers) -> set[Any]:
    """The values that projects may have stored."""
    choices = question.get("choices", [])
    return set(choices.values() if isinstance(choices, dict) else choices)


def test_newest_tag_is_the_earlier_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_all(tmp_path)
    for tag in ("v1.9.0", "v1.10.0", "v2.0.0rc1", "nightly"):
        git(tmp_path, "tag", tag)
    monkeypatch.setattr("releases.ROOT", tmp_path)
    assert earlier_release() is None
    commit_all(tmp_path)
    git(tmp_path, "tag", "v1.11.0")
    assert earlier_release() == "v1.10.0"


class Template:
    """The template, which changes as docs/updating.md says it may."""

    def __init__(self, path: Path) -> None:
        self.path = snapshot(path)

    def change(self, name: str, *replacements: tuple[str, str]) -> None:
        """Replace parts of a file, and commit."""
        text = (self.path / name).read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (self.path / name).write_text(text, encoding="utf-8")
        commit_all(self.path)

    def move(self, old: str, new: str) -> None:
        """Rename a file, and commit."""
        git(self.path, "mv", old, new)
        commit_all(self.path)


@pytest.fixture
def changing(tmp_path: Path) -> Template:
    return Template(tmp_path / "changing")


def test_renamed_question_takes_the_answer_of_the_old_one(
    changing: Template, tmp_path: Path
) -> None:
    project = copy(changing.path, tmp_path / "project", {"ci": "gitlab"})
    commit_all(project)
    renamed = "\npipeline:\n  type: str\n  help: Where?\n"
    text = yaml.safe_dump({"choices": ASKED["ci"]["choices"]}, sort_keys=False)
    renamed += "".join(f"  {line}\n" for line in text.splitlines())
    renamed += "  default: \"{{ ci | default('github') }}\"\n"
    text = (changing.path / "copier.yml").read_text(encoding="utf-8")
    question = text[text.index("\nci:\n") : text.index("\nmetrics:\n") - 1]
    changing.change(
        "copier.yml",
        (question, renamed),
        ("if ci != ", "if pipeline | default('github') != "),
        ("'database', 'ci']", "'database', 'pipeline']"),
    )

    update(project, {})

    assert answers_of(project)["pipeline"] == "gitlab"
    assert (project / ".gitlab-ci.yml").exists()
    assert git(project, "status", "--porcelain").split() == ["M", ".copier-answers.yml"]


def test_renamed_file_is_a_removed_one_and_a_new_one(changing: Template, tmp_path: Path) -> None:
    project = copy(changing.path, tmp_path / "project", {})
    commit_all(project)
    (project / "app/errors.py").write_text("# mine\n")
    commit_all(project)
    changing.move("template/app/errors.py", "template/app/rules.py")

    run_update(project, {})

    # So the message after the update names it, and the changelog must.
    assert not (project / "app/errors.py").exists()
    assert git(project, "show", "HEAD:app/errors.py") == "# mine\n"
    assert (project / "app/rules.py").read_text() != "# mine\n"


def test_old_projects_survive_a_new_question_in_exclude(changing: Template, tmp_path: Path) -> None:
    project = copy(changing.path, tmp_path / "project", {})
    commit_all(project)
    new = "\nshiny:\n  type: bool\n  help: Shiny?\n  default: false\n"
    changing.change(
        "copier.yml",
        ("\n# ── Computed", f"{new}\n# ── Computed"),
        (
            "\n_message_before_copy",
            '\n  - "{% if shiny | default(false) %}/app{% endif %}"\n\n_message_before_copy',
        ),
    )

    update(project, {})

    assert answers_of(project)["shiny"] is False
    assert git(project, "status", "--porcelain").split() == ["M", ".copier-answers.yml"]
