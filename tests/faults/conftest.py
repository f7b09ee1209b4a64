"""The services of the fault tier, rendered and installed once, and a world for each scenario."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uv
from projects import copy
from questionnaire import Answers
from services import environment

from faults import servers
from faults.verdict import PROPERTY, Verdict
from faults.world import World

PROJECTS: dict[str, Answers] = {
    "postgresql": {"database": "postgresql+asyncpg"},
    "replica": {"database": "postgresql+asyncpg", "read_replica": True},
    "mysql": {"database": "mysql+aiomysql"},
    "sqlite": {"database": "sqlite+aiosqlite"},
}


class Projects:
    """The rendered services, each made when it is first asked for."""

    def __init__(self, template: Path, directory: Path) -> None:
        self._template = template
        self._directory = directory

    def __getitem__(self, name: str) -> Path:
        project = self._directory / name
        if not project.exists():
            copy(self._template, project, PROJECTS[name])
        return project

    def python(self, name: str) -> Path:
        """The interpreter of an environment that holds what a service needs."""
        # A service with replicas needs what one without needs.
        project = self["postgresql" if name == "replica" else name]
        python = project / ".venv/bin/python"
        if not python.exists():
            command = [uv.find_uv_bin(), "sync", "--quiet", "--no-dev"]
            subprocess.run(command, cwd=project, env=environment(), check=True)
        return python


@pytest.fixture(scope="session")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Projects:
    return Projects(template, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def databases(projects: Projects) -> Iterator[Any]:
    """Databases by the kind of their server, which is started when it is first asked for."""
    with ExitStack() as stack:
        started: dict[str, servers.Databases] = {}

        def find(kind: str) -> servers.Databases:
            if kind not in started:
                start = getattr(servers, kind)
                context = start(projects[kind], projects.python(kind))
                started[kind] = stack.enter_context(context)
            return started[kind]

        yield find


@pytest.fixture
def verdict(request: pytest.FixtureRequest) -> Verdict:
    name = request.node.name.removeprefix("test_").replace("_", " ")
    return Verdict(name)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; PostgreSQL unless the test is parametrized."""
    return getattr(request, "param", "postgresql")


@pytest.fixture
def world(
    verdict: Verdict, kind: str, databases: Any, projects: Projects, tmp_path: Path
) -> Iterator[World]:
    """A migrated database, a proxy before it, and a service that is not started yet."""
    directory = tmp_path / "service"
    directory.mkdir()
    with databases(kind).migrated() as database:
        world = World(verdict, database, projects.python(kind), projects[kind], directory)
        try:
            yield world
        finally:
            world.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Judge every scenario by the bars for all of them, and keep its verdict."""
    verdict = pyfuncitem.funcargs.get("verdict") or getattr(
        pyfuncitem.funcargs.get("world"), "verdict", None
    )
    if not isinstance(verdict, Verdict):
        return (yield)
    try:
        result = yield
        world = pyfuncitem.funcargs.get("world")
        if isinstance(world, World) and world.services:
            world.judge()
    except BaseException as error:
        verdict.expect(False, f"{type(error).__name__}: {str(error)[:300]}")
        raise
    finally:
        pyfuncitem.user_properties.append((PROPERTY, verdict.line))
        if verdict.broken and isinstance(world := pyfuncitem.funcargs.get("world"), World):
            print(f"errors in the log of the service:\n{world.evidence()}")
    assert not verdict.broken, verdict.line
    return result
