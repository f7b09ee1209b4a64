"""Services of many kinds install, and pass their own type check, linter and tests on real servers.

Between them the profiles hold every pair of answers, because faults hide where two answers meet. In
the usual run, types are checked in all of them, the tests of the kit run once on each database and
with each answer that changes the kit, and those of the owner in some more; the whole matrix runs
all of it in all of them.
"""

import subprocess
import sys
import tomllib
from itertools import combinations as subsets
from pathlib import Path
from typing import Any

import pytest
from conftest import Render, made_once
from interpreters import nearest
from projects import copy_of
from questionnaire import ASKED, SAMPLES, Answers, combinations, computed, refusal, values
from services import run_uv as run

SQLITE = "sqlite+aiosqlite"
POSTGRES = "postgresql+asyncpg"
MYSQL = "mysql+aiomysql"
ORACLE = "oracle+oracledb_async"

COLUMNS = [
    *("python_version", "database", "migrations", "example", "tune_pool", "containers", "ci"),
    "metrics",
]
# Asked only of these.
MORE_COLUMNS = {POSTGRES: ["pgbouncer", "read_replica"], MYSQL: ["read_replica"]}
TABLE: list[tuple[Any, ...]] = [
    ("default", "3.11", SQLITE, True, True, False, True, "github", False),
    ("sqlite-skeleton", "3.11", SQLITE, True, False, True, False, "gitlab", True),
    ("sqlite-tuned", "3.12", SQLITE, True, True, True, False, "github", True),
    ("sqlite-tables", "3.12", SQLITE, False, True, True, True, "none", False),
    ("sqlite-tables-skeleton", "3.13", SQLITE, False, False, True, True, "github", True),
    ("sqlite-bare", "3.14", SQLITE, False, False, False, False, "none", False),
    ("postgresql-tables", "3.11", POSTGRES, False, True, False, True, "none", True, True, False),
    ("postgresql-reading", "3.11", POSTGRES, False, False, True, True, "none", False, False, True),
    ("postgresql-lean", "3.12", POSTGRES, True, False, False, False, "gitlab", True, False, True),
    ("postgresql-proxy", "3.12", POSTGRES, True, False, True, False, "github", False, True, False),
    ("postgresql-bare", "3.13", POSTGRES, True, False, False, False, "gitlab", False, False, False),
    ("postgresql", "3.13", POSTGRES, True, True, False, True, "none", True, True, True),
    ("postgresql-newest", "3.14", POSTGRES, True, True, False, False, "github", True, False, True),
    ("postgresql-tuned", "3.14", POSTGRES, False, True, True, True, "gitlab", False, True, False),
    ("mysql-tables", "3.11", MYSQL, False, True, True, True, "github", True, False),
    ("mysql-skeleton", "3.12", MYSQL, True, False, True, False, "none", False, True),
    ("mysql", "3.13", MYSQL, True, True, False, True, "gitlab", False, True),
    ("mysql-bare", "3.14", MYSQL, False, False, False, False, "none", True, False),
    # Without a server: the SQL that would be sent, and what happens while there is none.
    ("oracle", "3.11", ORACLE, True, True, False, True, "github", True),
    ("oracle-tables", "3.12", ORACLE, False, True, True, False, "gitlab", False),
    ("oracle-skeleton", "3.13", ORACLE, True, False, True, True, "none", False),
    ("oracle-bare", "3.14", ORACLE, False, False, False, False, "none", True),
]
PROFILES: dict[str, Answers] = {
    name: dict(zip(COLUMNS + MORE_COLUMNS.get(answers[1], []), answers, strict=True))
    for name, *answers in TABLE
}
# What a tuned pool is: small, so that tests meet its bounds.
POOL: dict[str, Answers] = {
    SQLITE: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2},
    POSTGRES: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2, "pool_pre_ping": True},
    MYSQL: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2, "pool_pre_ping": False},
    ORACLE: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2, "pool_pre_ping": False},
}
# On the oldest versions of the dependencies that the service says it can use.
OLDEST = {"default", "postgresql", "mysql", "oracle"}
# Their tests run a second time, in two processes at once.
PARALLEL = {"sqlite-tuned", "postgresql-tuned", "mysql-tables"}
# In the usual run, with the tests of the kit: replica, PgBouncer, tables at start-up, metrics, a
# small pool. The CI files' own commands run those of the default answers.
KIT = {"postgresql", "mysql", "sqlite-tables-skeleton", "oracle"}
# In the usual run, with those of the owner only.
OWNER = {"default", "postgresql-tables", "mysql-bare"}
long = pytest.mark.long


def answers_of_profile(profile: str) -> Answers:
    """The answers, for a Python that there is."""
    wanted = PROFILES[profile]["python_version"]
    # A service for Python 3.14 cannot be tried without it: then one for an older Python is.
    answers = PROFILES[profile] | {"python_version": min(wanted, nearest(wanted)[0])}
    return answers | (POOL[answers["database"]] if answers["tune_pool"] else {})


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(profile, marks=() if profile in KIT | OWNER else long) for profile in PROFILES
    ],
)
def profile(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def service(profile: str, fresh: Render, on_disk: Path) -> Path:
    """The service, with its dependencies in an environment of its own."""
    project = copy_of(fresh(answers_of_profile(profile)), on_disk)
    oldest = ["--resolution=lowest-direct"] if profile in OLDEST else []
    interpreter = nearest(PROFILES[profile]["python_version"])[1]
    run(project, "sync", "--quiet", f"--python={interpreter}", *oldest)
    return project


@pytest.fixture(scope="module")
def everything(render: Render, on_disk: Path) -> Path:
    """The Python of an environment with all that any service depends on, but for its tools once."""
    path = on_disk / "everything"
    python = path / "bin/python"
    with made_once(path) as missing:
        if missing:
            projects = [render(answers_of_profile(name)) for name in PROFILES]
            files = [str(project / "pyproject.toml") for project in projects]
            groups = [f"--group={file}:dev" for file in files]
            requirements = [f"--requirements={file}" for file in files]
            run(on_disk, "venv", "--quiet", f"--python={sys.executable}", str(path))
            target = f"--python={python}"
            run(on_disk, "pip", "install", "--quiet", target, *requirements, *groups)
    return python


def test_profiles_hold_every_pair_of_answers() -> None:
    tried_in_turn = {"python_version", "tune_pool", "metrics"}
    asked = {name for name in ASKED if name not in SAMPLES} | tried_in_turn
    assert {name for answers in PROFILES.values() for name in answers} == asked
    valid = combinations({name: values(name) for name in asked})
    held = PROFILES.values()
    missing = {pair for a in valid for pair in pairs(a)} - {pair for a in held for pair in pairs(a)}
    assert not missing, "add profiles with " + ", ".join(sorted(map(str, missing)))


def pairs(answers: Answers) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """Every two answers that are given together."""
    return set(subsets(sorted(answers.items()), 2))


@pytest.mark.parametrize("name", PROFILES)
def test_types_are_strict(name: str, render: Render, everything: Path, on_disk: Path) -> None:
    # One environment and one cache: what the services share is looked at once.
    command = [str(everything), "-m", "mypy", f"--cache-dir={on_disk / 'mypy'}", "."]
    project = render(answers_of_profile(name))
    result = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_own_tests_pass(service: Path, profile: str, request: pytest.FixtureRequest) -> None:
    usual = request.config.option.markexpr == "not long"
    kit = profile in KIT or not usual
    run(service, "run", "--no-sync", "pytest", *([] if kit else ["--ignore=tests/kit"]))
    if profile in PARALLEL and not usual:
        run(service, "run", "--no-sync", "pytest", "-n2")


@long
def test_service_passes_its_checks_in_its_own_environment(service: Path) -> None:
    run(service, "run", "--no-sync", "mypy", ".")
    run(service, "run", "--no-sync", "ruff", "check", ".")
    run(service, "run", "--no-sync", "ruff", "format", "--check", ".")


def test_no_project_takes_the_name_of_a_dependency(service: Path) -> None:
    # uv would take the project for the dependency, and give up.
    packages = tomllib.loads((service / "uv.lock").read_text(encoding="utf-8"))["package"]
    names = {package["name"] for package in packages if "virtual" not in package["source"]}
    assert names
    accepted = {name for name in names if not refusal("project_name", name)}
    assert {
        name for name in accepted if computed("distribution_name", project_name=name) == name
    } == set()
