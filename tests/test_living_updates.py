"""A project that people have worked on keeps what they did, whichever answer changes."""

import re
from pathlib import Path

import pytest
from conftest import Render
from living_project import added_lines, edit, edited_files, move_in, own_files
from projects import (
    answers_of,
    commit_all,
    conflicts_of,
    copy_of,
    git,
    revisions_of,
    run_update,
    update,
    update_by_command,
    without_revisions,
)
from questionnaire import Answers
from switches import single_switches, switches_of, telling_switches

SWITCHES = single_switches()
TELLING = telling_switches()
# Those that take away files in which the team has edited something.
REMOVING = {
    title: switch
    for name, title in (
        ("example", "example-True-False"),
        ("containers", "containers-True-False"),
        ("ci", "ci-github-none"),
        ("ci", "ci-gitlab-github"),
    )
    for switch in [switches_of(name, {})[title]]
}
# What the message after an update, and docs/updating.md, say about conflicts and removed files.
REMOVED, EDITED, BRING_BACK = (
    "git diff HEAD --relative --diff-filter=D --name-only",
    "git log -p -m --follow -- FILE",
    "git checkout HEAD -- FILE",
)
TAKE_BACK = "git reset --hard && git clean -fd"
CONFLICT = re.compile(
    r"^<<<<<<< before updating\n(.*?)^=======\n(.*?)^>>>>>>> after updating\n",
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture(scope="module")
def living(fresh: Render) -> Render:
    """A project with some answers, and with all that its team did; not to be changed."""
    projects: dict[str, Path] = {}

    def living(answers: Answers) -> Path:
        key = repr(sorted(answers.items()))
        if key not in projects:
            projects[key] = move_in(copy_of(fresh(answers)))
        return projects[key]

    return living


def resolve(project: Path) -> None:
    """Resolve conflicts as the message after an update says, and keep one's own lines."""
    for name in conflicts_of(project):
        text, number = CONFLICT.subn(r"\1", (project / name).read_text(encoding="utf-8"))
        assert number, f"the conflict in {name} is not marked"
        (project / name).write_text(text, encoding="utf-8")
        git(project, "add", name)


@pytest.mark.parametrize(
    "switch",
    [pytest.param(s, marks=() if s in TELLING else pytest.mark.long) for s in SWITCHES],
)
def test_switched_project_is_a_fresh_copy_with_the_same_work_in_it(
    switch: str, fresh: Render, living: Render
) -> None:
    before, after = SWITCHES[switch]
    project = copy_of(living(before))

    # Without a conflict.
    update(project, after)

    # As if the team had begun with the new answers.
    expected = copy_of(fresh(after))
    edit(expected, edited_files(fresh(before)) & edited_files(expected))
    own = {name: (living(before) / name).read_bytes() for name in own_files(fresh(before))}
    revisions = revisions_of(living(before))
    assert without_revisions(project) | revisions == without_revisions(expected) | own | revisions
    assert revisions_of(project) == revisions


CONFLICTS: dict[str, tuple[Answers, Answers, str, str, str]] = {
    "number": (
        {"tune_pool": True, "pool_timeout": 5},
        {"tune_pool": True, "pool_timeout": 9},
        "app/kit/answers.py",
        "POOL_TIMEOUT = 5",
        "POOL_TIMEOUT = 7",
    ),
    "python": (
        {"python_version": "3.11"},
        {"python_version": "3.13"},
        "pyproject.toml",
        'requires-python = ">=3.11"',
        'requires-python = ">=3.12,<3.14"',
    ),
    "compose": (
        {},
        {"database": "postgresql+asyncpg"},
        "compose.yaml",
        "volumes: [data:/data]",
        "volumes: [data:/data, ./reports:/reports]",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_line_that_both_sides_changed_is_a_marked_conflict(case: str, fresh: Render) -> None:
    before, after, name, theirs, ours = CONFLICTS[case]
    project = copy_of(fresh(before))
    text = (project / name).read_text()
    assert theirs in text
    (project / name).write_text(text.replace(theirs, ours))
    commit_all(project)

    run_update(project, after)

    assert conflicts_of(project) == [name]
    assert f"both modified:   {name}" in git(project, "status")
    found = CONFLICT.findall((project / name).read_text())
    assert len(found) == 1
    mine, new = found[0]
    assert ours in mine
    assert ours not in new

    resolve(project)

    assert conflicts_of(project) == []
    assert (project / name).read_text() == CONFLICT.sub("", (project / name).read_text())
    assert ours in (project / name).read_text()
    # All the other files are what the answers say.
    others = without_revisions(project).items() - {(name, (project / name).read_bytes())}
    assert others <= without_revisions(fresh(after)).items()


def test_own_file_where_the_template_adds_one_is_a_marked_conflict(fresh: Render) -> None:
    project = copy_of(fresh({"containers": False}))
    own = "FROM scratch\n"
    (project / "Dockerfile").write_text(own)
    commit_all(project)

    run_update(project, {"containers": True})

    assert conflicts_of(project) == ["Dockerfile"]
    resolve(project)
    assert (project / "Dockerfile").read_text() == own
    assert (project / "compose.yaml").exists()


def test_file_that_the_team_removed_does_not_come_back(fresh: Render) -> None:
    project = copy_of(fresh({}))
    removed = ["app/example/seed.py", "tests/example/test_scripts.py"]
    git(project, "rm", "-r", "--quiet", *removed)
    commit_all(project)

    update(project, {"database": "postgresql+asyncpg"})

    assert not any((project / name).exists() for name in removed)
    assert git(project, "status", "--porcelain", *removed) == ""


@pytest.mark.parametrize("switch", REMOVING)
def test_removed_files_are_named_and_can_be_had_back_with_their_edits(
    switch: str, fresh: Render, living: Render
) -> None:
    before, after = REMOVING[switch]
    project = copy_of(living(before))
    lost = edited_files(fresh(before)) - edited_files(fresh(after))
    assert lost

    changed = [f"-d{n}={a}" for n, a in after.items() if a != answers_of(project).get(n)]
    message = update_by_command(project, *changed)
    page = (project / "docs/updating.md").read_text(encoding="utf-8")

    for command in (REMOVED, EDITED, BRING_BACK):
        assert command in message
        assert command in page
    assert message.index("are removed, with your edits in them") < message.index("is updated")
    assert lost <= set(run(REMOVED, project).splitlines())
    for name in lost:
        assert not (project / name).exists()
        edits = run(EDITED.replace("FILE", name), project)
        assert all(f"+{line}" in edits for line in added_lines(name))
        run(BRING_BACK.replace("FILE", name), project)
        assert (project / name).read_bytes() == (living(before) / name).read_bytes()


def test_update_can_be_looked_at_and_taken_back(living: Render) -> None:
    project = copy_of(living({}))

    message = update_by_command(project, "-ddatabase=postgresql+asyncpg", "-dmigrations=no")

    page = (project / "docs/updating.md").read_text(encoding="utf-8")
    assert TAKE_BACK in message
    assert TAKE_BACK in page
    assert "asyncpg" in git(project, "diff", "HEAD")
    for command in TAKE_BACK.split(" && "):
        run(command, project)
    assert git(project, "status", "--porcelain") == ""
    assert without_revisions(project) == without_revisions(living({}))


def run(command: str, project: Path) -> str:
    """Run a command that begins with `git` in a project."""
    program, *arguments = command.split()
    assert program == "git"
    return git(project, *arguments)
