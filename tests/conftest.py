"""Fixtures of all tests, and a line in the terminal for every step that takes long."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import interpreters
import pytest
from faults.verdict import Verdicts
from projects import check_answers, commit_all, copy, snapshot
from pytest_copie.plugin import Copie
from questionnaire import Answers
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

Render = Callable[[Answers], Path]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it is in the working tree, committed."""
    return snapshot(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def render(copie_session: Copie, template: Path) -> Render:
    """Render the template with pytest-copie, and fail where it would pass in silence."""

    def render(answers: Answers) -> Path:
        result = copie_session.copy(answers, template_dir=template)
        if result.exception is not None:
            raise result.exception
        assert result.project_dir is not None
        check_answers(result.project_dir, answers)
        return result.project_dir

    return render


@pytest.fixture(scope="module")
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
def fresh(template: Path, temporary_files_in_memory: None) -> Render:
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


class OneWorkerPerProject(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
    """Gives the tests of one project to one worker, which renders and installs it once.

    The marks of `--dist=loadgroup`, which are meant for this, do nothing under pytest 9.2:
    https://github.com/pytest-dev/pytest-xdist/issues/1386
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, project = nodeid.partition("[")
        return file.partition("::")[0] + project if project else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneWorkerPerProject:
    return OneWorkerPerProject(config, log)


collect_ignore = ["living", "owner"]


def pytest_configure(config: pytest.Config) -> None:
    # Before the workers start, who must all choose the same: every run tries other random switches.
    os.environ.setdefault("UPDATES_SEED", str(random.SystemRandom().randrange(10**6)))
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config))
        config.pluginmanager.register(Verdicts(config))


class Progress:
    """Tells what takes long, while it does: some steps install and test a whole service."""

    SLOW_SECONDS = 5
    SLOW_FILES = (
        "test_living_services.py",
        "test_profiles.py",
        "test_readme.py",
        "test_service_readme.py",
    )

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_report_header(self) -> str:
        return f"{interpreters.report()}; UPDATES_SEED={os.environ['UPDATES_SEED']}"

    def pytest_terminal_summary(self) -> None:
        self._write(interpreters.report())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if any(file in nodeid for file in self.SLOW_FILES):
            self._write(f"     ...  {nodeid}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.duration > self.SLOW_SECONDS:
            step = f"{report.nodeid}: {report.when} {report.outcome}"
            self._write(f"{report.duration:6.1f} s  {step}")

    def _write(self, line: str) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.write_line(line)
