"""The cluster, made when it is first asked for, and a world for each scenario."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from faults.conftest import Projects, projects, pytest_pyfunc_call, verdict
from faults.verdict import Verdict
from faults.world import World

from cluster.patroni import Cluster, cluster_of_three, database_on
from cluster.programs import Programs, open_directory

# What the scenarios of the fault tier stand on.
__all__ = ["projects", "pytest_pyfunc_call", "verdict"]

_numbers = count(1)


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    with open_directory("programs-") as directory:
        yield Programs(directory)


@pytest.fixture(scope="session")
def cluster(programs: Programs, projects: Projects) -> Iterator[Cluster]:
    """Three nodes, their etcd and HAProxy."""
    python = projects.python("replica")
    with (
        open_directory("cluster-") as directory,
        cluster_of_three(directory, programs, projects["replica"], python) as cluster,
    ):
        yield cluster


@pytest.fixture
def world(
    cluster: Cluster, verdict: Verdict, projects: Projects, tmp_path: Path
) -> Iterator[World]:
    """A migrated database on the whole cluster, and a service that is not started yet."""
    directory = tmp_path / "service"
    directory.mkdir()
    with database_on(cluster, f"scenario_{next(_numbers)}") as database:
        world = World(verdict, database, projects.python("replica"), projects["replica"], directory)
        world.checks_sessions = False
        try:
            yield world
        finally:
            world.close()
