"""The CI files are valid and safe, and their commands succeed in a new service."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import Render
from interpreters import nearest
from projects import commit_all, copy, copy_of, git, update
from questionnaire import QUESTIONS, ROOT, Answers, combinations, values
from services import database, environment, shell, tool

CROSSED = ("database", "read_replica", "containers", "ci")
VARIANTS = list(combinations({name: values(name) for name in CROSSED}))
PYTHONS: list[str] = QUESTIONS["python_version"]["choices"]
WORKFLOW = ".github/workflows/ci.yml"

# They ask a database of vulnerabilities on the internet.
NOT_RUN_HERE = {"uv audit --locked"}


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def github_commands(project: Path, *jobs: str) -> list[str]:
    """The commands of a workflow's jobs, in their order."""
    steps = [step for job in jobs for step in load(project / WORKFLOW)["jobs"][job]["steps"]]
    return [step["run"] for step in steps if "run" in step]


def gitlab_commands(project: Path, *jobs: str) -> list[str]:
    """The commands of a pipeline's jobs, in their order."""
    pipeline = load(project / ".gitlab-ci.yml")
    before = pipeline["default"]["before_script"]
    return [command for job in jobs for command in before + pipeline[job]["script"]]


def test_workflows_are_valid_and_safe(render: Render) -> None:
    projects = [render(answers) for answers in VARIANTS if answers["ci"] == "github"]
    files = [project / WORKFLOW for project in projects]
    tool("check-jsonschema", "--builtin-schema=vendor.github-workflows", *files)
    updates = [file.parents[1] / "dependabot.yml" for file in files]
    tool("check-jsonschema", "--builtin-schema=vendor.dependabot", *updates)
    tool("zizmor", "--offline", "--no-progress", *files, *updates)


def test_pipelines_are_valid(render: Render) -> None:
    projects = [render(answers) for answers in VARIANTS if answers["ci"] == "gitlab"]
    schema = ["--builtin-schema=vendor.gitlab-ci", "--data-transform=gitlab-ci"]
    tool("check-jsonschema", *schema, *(project / ".gitlab-ci.yml" for project in projects))


def test_actions_are_pinned_to_commits(render: Render) -> None:
    uses = re.findall(r"uses: (.+)", (render({}) / WORKFLOW).read_text())
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)


def test_workflow_may_read_and_nothing_else(render: Render) -> None:
    workflow = load(render({}) / WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in workflow["jobs"].values())


def test_one_version_of_uv_is_used_everywhere() -> None:
    files = [
        f for part in ("template", "variants") for f in (ROOT / part).rglob("*") if f.is_file()
    ]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    versions = re.findall(r'astral-sh/uv:(\d+\.\d+\.\d+)|^ +version: "(.+)"', text, re.MULTILINE)
    assert len(versions) >= 4
    assert len({image or action for image, action in versions}) == 1


@pytest.mark.parametrize("version", PYTHONS)
def test_every_supported_python_is_tested(version: str, render: Render) -> None:
    supported = PYTHONS[PYTHONS.index(version) :]
    workflow = load(render({"python_version": version}) / WORKFLOW)
    assert workflow["jobs"]["test"]["strategy"]["matrix"] == {"python-version": supported}
    pipeline = load(render({"python_version": version, "ci": "gitlab"}) / ".gitlab-ci.yml")
    assert pipeline["test"]["parallel"]["matrix"] == [{"PYTHON": supported}]


def test_github_and_gitlab_run_the_same(render: Render) -> None:
    github = github_commands(render({}), "check", "test")
    assert gitlab_commands(render({"ci": "gitlab"}), "check", "test") == github


def test_hooks_check_what_ci_checks(render: Render) -> None:
    hooks = render({}) / ".pre-commit-config.yaml"
    # All of them are here: nothing is fetched from elsewhere, and versions are those of uv.lock.
    (repository,) = load(hooks)["repos"]
    assert repository["repo"] == "local"
    checks = {re.sub(r" --(check|fix)$", "", hook["entry"]) for hook in repository["hooks"]}
    commands = github_commands(render({}), "check")
    assert checks - {"uv lock"} == {
        command.removesuffix(" --check") for command in commands if command.startswith("uv run")
    }


@pytest.mark.parametrize(
    ("answers", "package"),
    [
        ({"database": "postgresql+asyncpg", "pgbouncer": True}, "pgbouncer"),
        ({"database": "mysql+aiomysql", "read_replica": True}, "mariadb-server-core"),
    ],
    ids=["pgbouncer", "replica"],
)
def test_servers_that_the_tests_start_are_installed(
    answers: Answers, package: str, render: Render
) -> None:
    install = f"apt-get install --yes {package}"
    assert any(install in command for command in github_commands(render(answers), "test"))
    project = render(answers | {"ci": "gitlab"})
    assert any(install in command for command in gitlab_commands(project, "test"))


def test_without_ci_or_containers_there_are_no_files_of_theirs(render: Render) -> None:
    project = render({"ci": "none", "containers": False})
    theirs = {".github", ".gitlab-ci.yml", "Dockerfile", "compose.yaml", ".dockerignore"}
    assert theirs.isdisjoint(path.name for path in project.iterdir())


def test_workflows_of_the_owner_survive_a_change_of_ci(template: Path, tmp_path: Path) -> None:
    project = copy(template, tmp_path / "service", {})
    own = project / ".github/workflows/deploy.yml"
    own.write_text("name: Deploy\n")
    commit_all(project)
    update(project, {"ci": "gitlab"})
    assert own.exists()
    assert not (project / WORKFLOW).exists()


@pytest.fixture(
    params=[
        pytest.param({"database": "sqlite+aiosqlite"}, id="sqlite"),
        pytest.param({"database": "postgresql+asyncpg"}, id="postgresql", marks=pytest.mark.long),
        pytest.param({"database": "mysql+aiomysql"}, id="mysql", marks=pytest.mark.long),
    ]
)
def service(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Path:
    """A new service, its lock file written, as it is when CI runs for the first time."""
    answers: Answers = request.param
    project = copy(template, tmp_path / "service", answers)
    shell("uv lock --quiet", project, environment())
    commit_all(project)
    return project


def test_commands_succeed_in_a_new_service(service: Path) -> None:
    _, interpreter = nearest(PYTHONS[0])
    variables = environment(UV_PYTHON=str(interpreter), CI="true")
    commands = github_commands(service, "check", "test")
    assert set(commands) >= NOT_RUN_HERE
    with ExitStack() as stack:
        given = load(service / WORKFLOW)["jobs"]["test"].get("env", {})
        if url := given.get("TEST_DATABASE_URL"):
            # The same URL, but for the address and the password of a server that there is here.
            shell("uv sync --locked --quiet", service, variables)
            here = stack.enter_context(database(service))
            assert urlsplit(url).path == here.path
            variables["TEST_DATABASE_URL"] = urlsplit(url)._replace(netloc=here.netloc).geturl()
        for command in commands:
            if command not in NOT_RUN_HERE:
                shell(command, service, variables)
    # And what is run before a commit: it finds nothing, and changes nothing.
    shell("uv run pre-commit run --all-files", service, variables)
    assert git(service, "status", "--porcelain") == ""


def test_a_missing_lock_file_is_said_clearly(render: Render) -> None:
    with pytest.raises(AssertionError, match=r"Unable to find lockfile at `uv\.lock`"):
        shell("uv sync --locked", copy_of(render({})), environment())
