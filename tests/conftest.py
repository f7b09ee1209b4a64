"""Fixtures of all tests, the folders that they share, and the order in which they run."""

import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path

import faster_copier
import progress
import pytest
from faults.verdict import Verdicts
from projects import (
    MEMORY,
    check_answers,
    commit_all,
    copy,
    snapshot,
    temporary_files_in_memory,
)
from pytest_copie.plugin import Copie
from questionnaire import Answers
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

Render = Callable[[Answers], Path]

# The folder that all processes of a run share is in memory, for hundreds of copies of small files.
# This one is on a disk, for what is linked to files in the caches of uv.
ON_DISK = "TESTS_ON_DISK"
# Git as it is by default, but that nothing here has to survive a power cut, and nothing gets old.
GIT = {"gc.auto": "0", "maintenance.auto": "false", "core.fsync": "none"}


@contextmanager
def made_once(path: Path) -> Iterator[bool]:
    """Whether something is still to be made; other processes wait until the block has ended."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = path.with_name(f"{path.name}.done")
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


@pytest.fixture(scope="session")
def in_memory() -> Path:
    """A folder for copies of the template."""
    return Path(os.environ[MEMORY])


@pytest.fixture(scope="session")
def on_disk() -> Path:
    """A folder for environments."""
    return Path(os.environ[ON_DISK])


@pytest.fixture(scope="session")
def template(in_memory: Path) -> Path:
    """The template as it is in the working tree, committed."""
    path = in_memory / "template"
    with made_once(path) as missing:
        if missing:
            snapshot(path)
    return path


def place_of(folder: Path, answers: Answers) -> Path:
    """Where the copy with some answers is."""
    key = hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()[:16]
    return folder / key / "service"


@pytest.fixture(scope="session")
def render(copie_session: Copie, template: Path, in_memory: Path) -> Render:
    """Render the template with pytest-copie, and fail where it would pass in silence.

    Each copy is made once for all tests, none of which may change it.
    """
    copie_session.test_dir = Path(tempfile.mkdtemp(dir=in_memory))

    def render(answers: Answers) -> Path:
        project = place_of(in_memory / "rendered", answers)
        with made_once(project) as missing:
            if missing:
                # It tells the name of each file.
                with temporary_files_in_memory(), redirect_stderr(StringIO()):
                    result = copie_session.copy(answers, template_dir=template)
                if result.exception is not None:
                    raise result.exception
                assert result.project_dir is not None
                check_answers(result.project_dir, answers)
                result.project_dir.rename(project)
        return project

    return render


@pytest.fixture(scope="session")
def fresh(template: Path, in_memory: Path) -> Render:
    """A fresh, committed copy with some answers, made without trust; once, not to be changed."""

    def fresh(answers: Answers) -> Path:
        project = place_of(in_memory / "fresh", answers)
        with made_once(project) as missing:
            if missing:
                commit_all(copy(template, project, answers))
        return project

    return fresh


class OneWorkerPerProject(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Gives the tests of one project to one worker, which renders and installs it once.

    The marks of `--dist=loadgroup`, which are meant for this, do nothing under pytest 9.2:
    https://github.com/pytest-dev/pytest-xdist/issues/1386
    """

    def _split_scope(self, nodeid: str) -> str:
        for together in TOGETHER:
            if together in nodeid:
                return together
        file, _, project = nodeid.partition("[")
        return file.partition("::")[0] + project if project else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneWorkerPerProject:
    # In our order, and not those with most tests first.
    config.option.loadscopereorder = False
    return OneWorkerPerProject(config, log)


# What takes longest comes first, so that no process has nothing to do while another one ends; all
# other tests follow as they are collected.
SLOWEST = (
    "test_profiles.py",
    "test_ci_files.py::test_commands",
    "test_owner_service.py",
    "test_service_readme.py::test_five_steps",
    "faults/",
    "cluster/",
    "test_living_services.py",
    "test_clients.py",
    "test_containers.py::test_what_the_image_does",
    "test_containers.py::test_replica",
    "test_containers.py::test_development",
    "test_readme.py::test_scaffold",
    "test_living_updates.py",
    "test_updates.py",
    "test_ways_to_update.py",
)


# These share a cache that only one process can use at a time.
TOGETHER = ("test_profiles.py::test_types_are_strict",)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # What befalls a service is tried on one database; the others have their own tests.
        if "tests/faults/" in item.nodeid and item.name.endswith(("mysql]", "sqlite]")):
            item.add_marker(pytest.mark.long)

    def place(item: pytest.Item) -> int:
        places = (n for n, start in enumerate(SLOWEST) if f"tests/{start}" in item.nodeid)
        return next(places, len(SLOWEST))

    items.sort(key=place)


collect_ignore = ["living", "owner"]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(progress.CpuTime())
        faster_copier.install()
        return
    # Before the workers start, who must all choose the same: every run tries other random switches.
    os.environ.setdefault("UPDATES_SEED", str(random.SystemRandom().randrange(10**6)))
    for number, (name, value) in enumerate(GIT.items()):
        os.environ[f"GIT_CONFIG_KEY_{number}"] = name
        os.environ[f"GIT_CONFIG_VALUE_{number}"] = value
    os.environ["GIT_CONFIG_COUNT"] = str(len(GIT))
    # Who ends a run by a signal finds nothing left of it, either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    make_folder(config, MEMORY, "/dev/shm")
    folder = make_folder(config, ON_DISK, None)
    if config.option.basetemp is None:
        config.option.basetemp = folder / "pytest"
    config.pluginmanager.register(progress.CpuTime())
    config.pluginmanager.register(progress.Progress(config))
    config.pluginmanager.register(Verdicts(config))
    faster_copier.install()


def make_folder(config: pytest.Config, name: str, parent: str | None) -> Path:
    """Make a folder that is there until the run ends, and that the environment names."""
    if parent and not (os.access(parent, os.W_OK) and shutil.disk_usage(parent).free > 2**30):
        parent = None
    folder = Path(tempfile.mkdtemp(prefix="template-tests-", dir=parent))
    # The tests start servers, which are another user's where the tests are root's.
    folder.chmod(0o755)
    os.environ[name] = str(folder)
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder
