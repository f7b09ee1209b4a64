"""A project that changes answers becomes what a fresh copy with the new answers is."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import pytest
from projects import answers_of, commit_all, copy, files_of, update
from questionnaire import ASKED, SAMPLES, Answers, combinations, values

Switch = tuple[Answers, Answers]

# All other answers are, once, the defaults, and once whatever brings most files.
PLAIN: Answers = {}
RICH: Answers = {
    "database": "postgresql+asyncpg",
    "pool_size": 7,
    "max_overflow": 3,
    "pool_timeout": 9,
    "pool_recycle": 600,
    **{name: True for name, question in ASKED.items() if question["type"] == "bool"},
}
# Every run tries others; to repeat one, set the seed that it printed.
SEED = os.environ["UPDATES_SEED"]
RANDOM_SWITCHES = 10


def valid(answers: Answers) -> Answers:
    """The answers without those to questions that are not asked."""
    return next(combinations({name: [answer] for name, answer in answers.items()}))


def single_switches() -> Iterator[object]:
    """From each value of each question to each other."""
    for surroundings, others in (("plain", PLAIN), ("rich", RICH)):
        for name in ASKED:
            tried = SAMPLES[name][:2] if name in SAMPLES else values(name)
            for pair in permutations(tried, 2):
                before, after = (valid(others | {name: answer}) for answer in pair)
                if name in before and name in after:
                    title = f"{surroundings}-{name}-{pair[0]}-{pair[1]}"
                    yield pytest.param((before, after), id=title)


def random_switches() -> Iterator[object]:
    """From any answers to any others."""
    chance = random.Random(SEED)
    for number in range(RANDOM_SWITCHES):
        pair = tuple(
            valid({name: chance.choice(SAMPLES.get(name) or values(name)) for name in ASKED})
            for _ in range(2)
        )
        yield pytest.param(pair, id=f"seed-{SEED}-{number}")


@pytest.fixture(scope="module", autouse=True)
def temporary_files_in_memory() -> Iterator[None]:
    """Copier's three copies for each update are a thousand small files: on a disk that is slow."""
    memory = Path("/dev/shm")
    if not (os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30):
        yield
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="module")
def fresh(template: Path) -> Callable[[Answers], Path]:
    """A fresh, committed copy with some answers; made once, not to be changed."""
    copies: dict[str, Path] = {}

    def fresh(answers: Answers) -> Path:
        key = repr(sorted(answers.items()))
        if key not in copies:
            project = Path(tempfile.mkdtemp()) / "project"
            copies[key] = copy(template, project, answers)
            commit_all(project)
        return copies[key]

    return fresh


@pytest.mark.parametrize("switch", [*single_switches(), *random_switches()])
def test_switched_project_equals_a_fresh_copy(
    switch: Switch, fresh: Callable[[Answers], Path]
) -> None:
    before, after = switch
    project = Path(tempfile.mkdtemp()) / "project"
    shutil.copytree(fresh(before), project)

    update(project, after)

    assert compared(project) == compared(fresh(after))
    assert answers_of(project) == answers_of(fresh(after))
    assert revisions(project) == revisions(fresh(before))


def compared(project: Path) -> dict[str, bytes]:
    """All files but what Copier remembers, and the revisions, which are their owner's."""
    files = files_of(project)
    ours = files.keys() - revisions(project).keys() - {".copier-answers.yml"}
    return {name: files[name] for name in sorted(ours)}


def revisions(project: Path) -> dict[str, bytes]:
    """The migrations of the project."""
    files = files_of(project)
    return {name: files[name] for name in files if name.startswith("migrations/versions/")}
