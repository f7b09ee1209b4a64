"""Services of many kinds install, and pass their own type check, linter and tests on real servers.

Between them the profiles hold every pair of answers, because faults hide where two answers meet.
"""

import os
import signal
import subprocess
import tomllib
from itertools import combinations as subsets
from pathlib import Path
from typing import Any

import pytest
import uv
from interpreters import nearest
from projects import copy
from questionnaire import ASKED, SAMPLES, Answers, combinations, computed, refusal, values
from services import environment

SQLITE = "sqlite+aiosqlite"
POSTGRESQL = "postgresql+asyncpg"
MYSQL = "mysql+aiomysql"
ORACLE = "oracle+oracledb_async"

COLUMNS = ["python_version", "database", "migrations", "example", "tune_pool", "containers", "ci"]
# Asked only of PostgreSQL.
POSTGRESQL_COLUMNS = [*COLUMNS, "pgbouncer", "read_replica"]
TABLE: list[tuple[Any, ...]] = [
    ("default", "3.11", SQLITE, True, True, False, True, "github"),
    ("sqlite-skeleton", "3.11", SQLITE, True, False, True, False, "gitlab"),
    ("sqlite-tuned", "3.12", SQLITE, True, True, True, False, "github"),
    ("sqlite-tables", "3.12", SQLITE, False, True, True, True, "none"),
    ("sqlite-tables-skeleton", "3.13", SQLITE, False, False, True, True, "github"),
    ("sqlite-bare", "3.14", SQLITE, False, False, False, False, "none"),
    ("postgresql-tables", "3.11", POSTGRESQL, False, True, False, True, "none", True, False),
    ("postgresql-reading", "3.11", POSTGRESQL, False, False, True, True, "none", False, True),
    ("postgresql-lean", "3.12", POSTGRESQL, True, False, False, False, "gitlab", False, True),
    ("postgresql-proxied", "3.12", POSTGRESQL, True, False, True, False, "github", True, False),
    ("postgresql-bare", "3.13", POSTGRESQL, True, False, False, False, "gitlab", False, False),
    ("postgresql", "3.13", POSTGRESQL, True, True, False, True, "none", True, True),
    ("postgresql-newest", "3.14", POSTGRESQL, True, True, False, False, "github", False, True),
    ("postgresql-tuned", "3.14", POSTGRESQL, False, True, True, True, "gitlab", True, False),
    ("mysql-tables", "3.11", MYSQL, False, True, True, True, "github"),
    ("mysql-skeleton", "3.12", MYSQL, True, False, True, False, "none"),
    ("mysql", "3.13", MYSQL, True, True, False, True, "gitlab"),
    ("mysql-bare", "3.14", MYSQL, False, False, False, False, "none"),
    # Without a server: the SQL that would be sent, and what happens while there is none.
    ("oracle", "3.11", ORACLE, True, True, False, True, "github"),
    ("oracle-tables", "3.12", ORACLE, False, True, True, False, "gitlab"),
    ("oracle-skeleton", "3.13", ORACLE, True, False, True, True, "none"),
    ("oracle-bare", "3.14", ORACLE, False, False, False, False, "none"),
]
PROFILES: dict[str, Answers] = {
    name: dict(
        zip(POSTGRESQL_COLUMNS if answers[1] == POSTGRESQL else COLUMNS, answers, strict=True)
    )
    for name, *answers in TABLE
}
# What a tuned pool is: small, so that tests meet its bounds.
POOL: dict[str, Answers] = {
    SQLITE: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2},
    POSTGRESQL: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2, "pool_pre_ping": True},
    MYSQL: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2, "pool_pre_ping": False},
    ORACLE: {"pool_size": 2, "max_overflow": 1, "pool_timeout": 2, "pool_pre_ping": False},
}
# On the oldest versions of the dependencies that the service says it can use.
OLDEST = {"default", "postgresql", "mysql", "oracle"}
# Their tests run a second time, in two processes at once.
PARALLEL = {"sqlite-tuned", "postgresql-tuned", "mysql-tables"}

STEP_SECONDS = 300


@pytest.fixture(scope="module", params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def service(profile: str, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service, with its dependencies in an environment of its own."""
    wanted = PROFILES[profile]["python_version"]
    version, interpreter = nearest(wanted)
    # A service for Python 3.14 cannot be tried without it: then one for an older Python is.
    answers = PROFILES[profile] | {"python_version": min(wanted, version)}
    if answers["tune_pool"]:
        answers |= POOL[answers["database"]]
    project = copy(template, tmp_path_factory.mktemp(profile) / "service", answers)
    oldest = ["--resolution=lowest-direct"] if profile in OLDEST else []
    run(project, "sync", "--quiet", f"--python={interpreter}", *oldest)
    return project


def run(project: Path, *arguments: str) -> None:
    """Run uv in a project, as its owner would; fail with all that it printed."""
    # Opt-in: a MySQL of any version, in place of the MariaDB that is found or downloaded.
    server = {"TEST_DATABASE_PROGRAM": os.environ["MYSQLD"]} if "MYSQLD" in os.environ else {}
    with subprocess.Popen(
        [uv.find_uv_bin(), *arguments],
        cwd=project,
        env=environment(**server),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=STEP_SECONDS)
        except subprocess.TimeoutExpired:
            # Not only uv, which would leave behind what it runs.
            os.killpg(process.pid, signal.SIGKILL)
            output = f"{process.communicate()[0]}\nIt took longer than {STEP_SECONDS} s."
    assert process.returncode == 0, f"uv {' '.join(arguments)} failed:\n{output}"


def test_profiles_hold_every_pair_of_answers() -> None:
    asked = {name for name in ASKED if name not in SAMPLES} | {"python_version", "tune_pool"}
    assert set(POSTGRESQL_COLUMNS) == asked
    valid = combinations({name: values(name) for name in POSTGRESQL_COLUMNS})
    held = PROFILES.values()
    missing = {pair for a in valid for pair in pairs(a)} - {pair for a in held for pair in pairs(a)}
    assert not missing, "add profiles with " + ", ".join(sorted(map(str, missing)))


def pairs(answers: Answers) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    """Every two answers that are given together."""
    return set(subsets(sorted(answers.items()), 2))


def test_types_are_strict(service: Path) -> None:
    run(service, "run", "--no-sync", "mypy", ".")


def test_code_is_lint_clean(service: Path) -> None:
    run(service, "run", "--no-sync", "ruff", "check", ".")
    run(service, "run", "--no-sync", "ruff", "format", "--check", ".")


def test_own_tests_pass(service: Path, profile: str) -> None:
    run(service, "run", "--no-sync", "pytest")
    if profile in PARALLEL:
        run(service, "run", "--no-sync", "pytest", "-n2")


def test_no_project_takes_the_name_of_a_dependency(service: Path) -> None:
    # uv would take the project for the dependency, and give up.
    packages = tomllib.loads((service / "uv.lock").read_text(encoding="utf-8"))["package"]
    names = {package["name"] for package in packages if "virtual" not in package["source"]}
    assert names
    accepted = {name for name in names if not refusal("project_name", name)}
    assert {
        name for name in accepted if computed("distribution_name", project_name=name) == name
    } == set()
