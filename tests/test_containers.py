"""The container files are valid and safe; what the image does is rehearsed without an engine."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Render
from interpreters import installed
from projects import copy
from questionnaire import Answers, combinations, values
from services import database as running_database
from services import environment, shell, tool

CROSSED = ("database", "migrations", "pgbouncer", "read_replica")
VARIANTS = list(combinations({name: values(name) for name in CROSSED}))
UID = 10001
# Of the databases in compose files, for those who run these.
PASSWORDS = ("POSTGRES_PASSWORD", "MYSQL_PASSWORD", "ORACLE_PASSWORD")

Instruction = tuple[str, str]


def name_of(answers: Answers) -> str:
    backend = str(answers["database"]).partition("+")[0]
    chosen = [name for name in ("pgbouncer", "read_replica") if answers.get(name)]
    return "-".join([backend, *chosen, *([] if answers["migrations"] else ["tables"])])


@pytest.fixture(scope="module", params=[pytest.param(a, id=name_of(a)) for a in VARIANTS])
def project(request: pytest.FixtureRequest, render: Render) -> Path:
    return render(request.param)


@pytest.fixture(scope="module")
def services(project: Path) -> dict[str, Any]:
    """The services of the compose file."""
    found: dict[str, Any] = yaml.safe_load((project / "compose.yaml").read_text())["services"]
    return found


def instructions(project: Path) -> list[Instruction]:
    """The Dockerfile's instructions: their names and the rest."""
    text = re.sub(r"^#.*\n", "", (project / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name]


def last(name: str, project: Path) -> str:
    """What the last instruction of a name says."""
    return [rest for found, rest in instructions(project) if found == name][-1]


def test_dockerfile_is_lint_clean(project: Path) -> None:
    tool("hadolint", project / "Dockerfile")


def test_compose_file_fits_its_schema(project: Path) -> None:
    tool("check-jsonschema", "--builtin-schema=vendor.compose-spec", project / "compose.yaml")


def test_compose_accepts_the_file(project: Path) -> None:
    compose = ["docker", "compose"]
    if (
        not shutil.which("docker")
        or subprocess.run([*compose, "version"], capture_output=True).returncode
    ):
        pytest.skip("there is no docker compose here")
    config = [*compose, "--project-directory", str(project), "config", "--quiet"]
    subprocess.run(config, check=True, env=environment(**dict.fromkeys(PASSWORDS, "x")))


def test_base_images_are_pinned_to_versions(project: Path, services: dict[str, Any]) -> None:
    images = [rest.split()[0] for name, rest in instructions(project) if name == "FROM"]
    images += re.findall(r"--from=(\S+/\S+)", (project / "Dockerfile").read_text())
    images += [service["image"] for service in services.values() if "image" in service]
    assert len(images) >= 3
    for image in images:
        assert re.search(r":v?\d+(\.\d+)*(-[\w-]+)?\Z", image), image


def test_build_stage_and_image_have_the_same_python(project: Path) -> None:
    # The virtual environment that is copied holds links to it.
    stages = [rest.split()[0] for name, rest in instructions(project) if name == "FROM"]
    assert len(stages) == 2
    assert len(set(stages)) == 1


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_dependencies_need_no_compiler(machine: str, project: Path, tmp_path: Path) -> None:
    # The slim images have none, so there must be a wheel of everything for their Python.
    version = re.search(r"FROM python:(\d+\.\d+)-slim", (project / "Dockerfile").read_text())
    assert version is not None
    options = ["--dry-run", "--only-binary=:all:", f"--target={tmp_path}"]
    options += [f"--python-version={version[1]}", f"--python-platform={machine}-manylinux_2_28"]
    options += ["--requirements=pyproject.toml"]
    shell(shlex.join(["uv", "pip", "install", *options]), project, environment())


def test_only_what_is_copied_is_sent_to_the_builder(project: Path) -> None:
    patterns = (project / ".dockerignore").read_text().splitlines()
    assert next(p for p in patterns if p[:1] != "#") == "*"
    allowed = {p.removeprefix("!") for p in patterns if p.startswith("!")}
    assert allowed == {source for source, _ in copies(project)}


def copies(project: Path) -> Iterator[tuple[str, str]]:
    """What the Dockerfile copies from the project, and where to."""
    for name, rest in instructions(project):
        if name == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            yield from ((source, target) for source in sources)


def test_service_runs_as_a_numeric_user_who_is_not_root(project: Path) -> None:
    assert last("USER", project) == f"{UID}:{UID}"


def test_commands_need_no_shell(project: Path) -> None:
    # A shell would not pass the signal that stops the service.
    assert json.loads(last("CMD", project)) == ["python", "-m", "app"]
    assert json.loads(last("HEALTHCHECK", project).partition(" CMD ")[2])[0] == "python"


def test_service_may_do_nothing_that_it_need_not(services: dict[str, Any]) -> None:
    ours = [service for service in services.values() if "build" in service]
    assert ours
    for service in ours:
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_no_secret_is_in_the_files_and_none_has_a_default(project: Path) -> None:
    compose = (project / "compose.yaml").read_text()
    assert all(":?" in variable for variable in re.findall(r"\$\{.*?\}", compose))
    assert not re.search(r'PASSWORD: (?!\$\{|"yes")', compose)
    assert not re.search(r"PASSWORD|SECRET|TOKEN", (project / "Dockerfile").read_text())


def test_service_starts_after_its_database_and_its_migrations(
    project: Path, services: dict[str, Any]
) -> None:
    waits_for = {
        (name, other): how["condition"]
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
    }
    expected = {}
    if (project / "migrations").exists():
        expected["app", "migrate"] = "service_completed_successfully"
        assert services["migrate"]["command"] == ["python", "-m", "app.db.migrate"]
    if "database" in services:
        waiting = "migrate" if expected else "app"
        expected[waiting, "database"] = "service_healthy"
    for name in {"replica", "pgbouncer"} & services.keys():
        expected[name, "database"] = "service_healthy"
    if "pgbouncer" in services:
        expected["app", "pgbouncer"] = "service_healthy"
    # Not for the replica, which may be away.
    assert waits_for == expected
    for _, other in waits_for:
        assert other == "migrate" or "healthcheck" in services[other]


def test_stopping_waits_for_requests_to_finish(project: Path, services: dict[str, Any]) -> None:
    server = (project / "app/__main__.py").read_text()
    graceful = re.findall(r"timeout_graceful_shutdown=(\d+)", server)
    assert len(graceful) == 1
    assert int(services["app"]["stop_grace_period"].removesuffix("s")) >= int(graceful[0]) + 5


@pytest.mark.parametrize("database", values("database"))
def test_what_the_image_does_works(database: str, template: Path) -> None:
    """Build, migrate, start, probe and stop, as the Dockerfile and the compose file say.

    What they do in `/` is done in a folder; the user is the image's, who cannot write there.
    """
    with tempfile.TemporaryDirectory(prefix="image-") as folder, ExitStack() as stack:
        os.chmod(folder, 0o755)
        project = copy(template, Path(folder) / "project", {"database": database})
        image = Image(project, Path(folder) / "root")
        image.build()
        service = yaml.safe_load((project / "compose.yaml").read_text())["services"]["app"]
        url = service.get("environment", {}).get("DATABASE_URL", "")
        if url.startswith("oracle"):
            # There is no server here: the service lives without, and says so.
            image.environment["DATABASE_URL"] = "oracle://app:x@127.0.0.1:1?service_name=FREEPDB1"
            with image.started():
                assert image.get("/health/ready") == 503
                assert image.get("/api/v1/users") == 503
            assert image.probe() != 0
            return
        if url:
            shell("uv sync --quiet", project, environment(UV_PYTHON=str(image.interpreter)))
            here = stack.enter_context(running_database(project))
            assert re.fullmatch(r"[a-z+]+://app(:\$\{.*\})?@database:\d+/app", url)
            if ":?" in url:
                image.environment["DATABASE_URL"] = here.geturl()
            else:
                user = here._replace(netloc=f"{here.username}@{here.hostname}:{here.port}")
                image.environment["DATABASE_URL"] = user.geturl()
                image.environment["PGPASSWORD"] = str(here.password)
        before = image.files()
        image.run("python", "-m", "app.db.migrate")
        with image.started():
            assert image.get("/health/ready") == 200
            assert image.get("/api/v1/users") == 200
            assert image.get("/docs") == 404
        assert image.probe() != 0
        assert image.files() == before


class Image:
    """The final state of a Dockerfile, in a folder in place of `/`."""

    def __init__(self, project: Path, root: Path) -> None:
        self.project = project
        self.root = root
        self.srv = root / "srv"
        self.srv.mkdir(parents=True)
        # The image's user must be able to run it.
        self.user: dict[str, Any] = {}
        candidates = [*installed().values(), Path("/usr/bin/python3")]
        if os.geteuid() == 0:
            self.user = {"user": UID, "group": UID, "extra_groups": []}
            candidates = [path for path in candidates if self._can_run(path)]
        if not candidates:
            pytest.skip("there is no Python here that others than root can run")
        self.interpreter = candidates[0]
        (root / "bin").mkdir()
        (root / "bin/python").symlink_to(self.interpreter)
        self.environment = {"PATH": f"{root}/bin:/usr/bin:/bin"}

    def _can_run(self, interpreter: Path) -> bool:
        try:
            supported = "import sys; sys.exit(sys.version_info < (3, 11))"
            command = [str(interpreter), "-c", supported]
            return not subprocess.run(command, capture_output=True, cwd="/", **self.user).returncode
        except OSError:
            return False

    def build(self) -> None:
        """Do what the Dockerfile says."""
        stages = 0
        shell("uv lock --quiet", self.project, environment(UV_PYTHON=str(self.interpreter)))
        ours = environment()
        for name, rest in instructions(self.project):
            match name:
                case "FROM":
                    stages += 1
                case "COPY" if stages == 1 and "--from" not in rest:
                    *sources, target = rest.split()
                    for source in sources:
                        self._copy(self.project / source, self.srv / target)
                case "RUN":
                    if not self.user:  # Who is not root gives no file to another.
                        rest = re.sub(r"-[og] \d+", "", rest)
                    path = f"{self.environment['PATH']}:{ours['PATH']}"
                    shell(self._inside(rest), self.srv, ours | self.environment | {"PATH": path})
                case "ENV":
                    pairs = (pair.partition("=") for pair in shlex.split(rest))
                    path = self.environment["PATH"]
                    values = ((k, v.replace("$PATH", path)) for k, _, v in pairs)
                    self.environment |= {k: self._inside(v) for k, v in values}
        assert stages == 2
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment |= {"PORT": str(self.port), "HOME": "/"}

    def _inside(self, text: str) -> str:
        """Have absolute paths begin in the folder."""
        return re.sub(r"(?<![\w.$])/(srv|data)\b", rf"{self.root}/\1", text)

    def _copy(self, source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)

    def files(self) -> set[tuple[str, int]]:
        """Every file of the service, and when it was changed."""
        paths = [path for path in self.srv.rglob("*") if path.is_file()]
        return {(str(path), path.stat().st_mtime_ns) for path in paths}

    def run(self, *command: str) -> None:
        """Run a command to its end."""
        result = self._start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = result.communicate(timeout=60)
        assert result.returncode == 0, f"{command}:\n{output}"

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start the service, wait until it is healthy, and stop it at the end."""
        process = self._start(json.loads(last("CMD", self.project)))
        try:
            deadline = time.monotonic() + 30
            while self.probe() != 0:
                assert process.poll() is None, "the service did not start"
                assert time.monotonic() < deadline, "the service did not get healthy"
                time.sleep(0.1)
            yield
            process.terminate()
            process.wait(20)
        finally:
            process.kill()

    def probe(self) -> int:
        """Do the health check and return its exit code."""
        command = json.loads(last("HEALTHCHECK", self.project).partition(" CMD ")[2])
        return self._start(command, stderr=subprocess.DEVNULL).wait(10)

    def get(self, path: str) -> int:
        """Request a path and return the status."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", path)
            return connection.getresponse().status

    def _start(self, command: Any, **options: Any) -> "subprocess.Popen[Any]":
        program = shutil.which(command[0], path=self.environment["PATH"])
        assert program is not None
        return subprocess.Popen(
            [program, *command[1:]], cwd=self.srv, env=self.environment, **options, **self.user
        )


@pytest.fixture(scope="module")
def with_settings(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a service, with what its settings need."""
    folder = tmp_path_factory.mktemp("settings")
    project = copy(template, folder / "service", {})
    shell("uv sync --quiet --no-dev", project, environment())
    return project / ".venv/bin/python"


READ_SETTINGS = """
import json, re, sys
from pathlib import Path
from app.settings import Settings

example = Path(".env.example").read_text()
Path(".env").write_text("\\n".join(re.findall("^# ([A-Z_]+=.*)", example, re.MULTILINE)))
plain = Settings(_env_file=None)
given = Settings(_env_file=".env")
json.dump({
    name: [repr(getattr(plain, name)), repr(getattr(given, name))] for name in Settings.model_fields
}, sys.stdout)
"""


def test_env_example_has_every_setting_with_its_default(
    project: Path, with_settings: Path, tmp_path: Path
) -> None:
    shutil.copytree(project / "app", tmp_path / "app")
    example = shutil.copy(project / ".env.example", tmp_path)
    lines = Path(example).read_text().splitlines()
    assert all(line.startswith("# ") or not line for line in lines)
    named = re.findall(r"^# ([A-Z_]+)=", "\n".join(lines), re.MULTILINE)
    command = [str(with_settings), "-c", READ_SETTINGS]
    output = subprocess.check_output(command, cwd=tmp_path, env=environment(), text=True)
    settings: dict[str, list[str]] = json.loads(output)
    ours = [name for name in named if name not in PASSWORDS]
    assert ours == [name.upper() for name in settings]
    for name, (default, given) in settings.items():
        # Without a value, it depends on others; then the file shows a value that it can have.
        assert given == default or default == "None", name
