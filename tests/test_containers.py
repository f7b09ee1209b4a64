"""The container files are valid and safe; what the image does is rehearsed without an engine."""

import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Render
from interpreters import installed
from projects import copy
from questionnaire import ROOT, Answers, combinations, values
from services import PASSWORDS, environment, free_port, shell, tool
from services import database as running_database

CROSSED = ("database", "migrations", "pgbouncer", "read_replica")
VARIANTS = list(combinations({name: values(name) for name in CROSSED}))
UID = 10001
SECRET = "$ecret 'with' everything"

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


@pytest.fixture(scope="session")
def compose() -> list[str]:
    """The command of Docker Compose: that of this machine, else Debian's, unpacked once."""
    for command in (["docker", "compose"], ["docker-compose"]):
        with suppress(OSError):
            said = subprocess.run([*command, "version"], capture_output=True, text=True)
            # Version 1 knew another format.
            if re.search(r"version v?[2-9]", said.stdout):
                return command
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "docker-compose-for-tests"
    if not (place / "docker-compose").exists():
        if not (shutil.which("apt-get") and Path("/usr/share/keyrings").exists()):
            pytest.skip("there is no Docker Compose here, and this is no Debian to have one from")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unpacking = [str(ROOT / "tests/unpack_compose.sh"), f"{folder}/unpacked"]
            result = subprocess.run(unpacking, capture_output=True, text=True)
            assert result.returncode == 0, result.stderr
            with suppress(OSError):  # Another worker may have been faster.
                Path(folder, "unpacked").rename(place)
    return [str(place / "docker-compose")]


def test_compose_accepts_the_file(
    project: Path, services: dict[str, Any], compose: list[str]
) -> None:
    understood = effective(compose, project, "compose.yaml")["services"]
    assert understood.keys() == services.keys()
    # What a shell gets has its variables still, and what Compose fills in has them no more.
    for service in understood.values():
        assert "${" not in str(service)


def test_development_adds_a_port_for_this_machine_and_nothing_else(
    project: Path, compose: list[str]
) -> None:
    if not (project / "compose.dev.yaml").exists():
        return
    plain = effective(compose, project, "compose.yaml")
    added = effective(compose, project, "compose.yaml", "compose.dev.yaml")
    ((port,),) = [added["services"]["database"].pop("ports")]
    assert added == plain
    assert (port["host_ip"], port.get("published")) == ("127.0.0.1", None)
    assert str(port["target"]) in (project / "app/kit/answers.py").read_text()


def effective(compose: list[str], project: Path, *files: str) -> dict[str, Any]:
    """What Compose understands of some files."""
    command = [*compose, f"--project-directory={project}"]
    command += [f"--file={project / file}" for file in files]
    variables = environment(**dict.fromkeys(PASSWORDS, SECRET))
    result = subprocess.run(
        [*command, "config", "--format=json"], capture_output=True, text=True, env=variables
    )
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_scripts_are_lint_clean(services: dict[str, Any], tmp_path: Path) -> None:
    for name, service in services.items():
        commands = [service.get("command", []), service.get("healthcheck", {}).get("test", [])]
        for program, *_, script in filter(None, commands):
            if program in ("sh", "CMD-SHELL"):
                (tmp_path / name).write_text(script.replace("$$", "$"))
                tool("shellcheck", "--shell=sh", tmp_path / name)


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
        assert services["migrate"]["command"] == ["python", "-m", "app", "migrate"]
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
    settings = (project / "app/kit/settings.py").read_text()
    defaults = re.findall(r"shutdown_(?:delay|timeout): \w+ = Field\(default=(\d+)", settings)
    assert len(defaults) == 2
    grace = int(services["app"]["stop_grace_period"].removesuffix("s"))
    assert grace >= sum(map(int, defaults)) + 5


@pytest.mark.parametrize(
    "database",
    [
        pytest.param(name, marks=() if "postgresql" in name else pytest.mark.long)
        for name in values("database")
    ],
)
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
        image.run("python", "-m", "app", "migrate")
        with image.started():
            assert image.get("/health/ready") == 200
            assert image.get("/api/v1/users") == 200
            assert image.get("/docs") == 404
        assert image.probe() != 0
        assert image.files() == before


QUERY = """
import asyncio, sys
import asyncpg

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    try:
        print(await connection.fetchval(sys.argv[2]))
    finally:
        await connection.close()

asyncio.run(main())
"""


def test_replica_is_set_up_as_the_compose_file_says(template: Path) -> None:
    """What the containers of the database and its replica run, on servers of this machine."""
    with tempfile.TemporaryDirectory(prefix="replica-") as directory, ExitStack() as stack:
        folder = Path(directory)
        folder.chmod(0o755)
        answers = {"database": "postgresql+asyncpg", "read_replica": True}
        project = copy(template, folder / "project", answers)
        shell("uv sync --quiet", project, environment())
        database = Container("database", project, folder)
        replica = Container("replica", project, folder)
        # As the image does before its first start.
        (folder / "password").write_text(SECRET)
        database.run("initdb", "--username=app", f"--pwfile={folder / 'password'}", "--auth=trust")

        stack.enter_context(database.started())
        database.query("CREATE DATABASE app", database="postgres")
        with replica.started(source=database):
            assert replica.query("SELECT pg_is_in_recovery()") == "True"
            database.query("CREATE TABLE first (id INT)")
            replica.wait_for("SELECT count(*) FROM first", "0")
            streams = "SELECT string_agg(state, ' ') FROM pg_stat_replication"
            assert database.query(streams) == "streaming"
        database.query("CREATE TABLE second (id INT)")
        # It goes on where it was, and is not copied again.
        made = (replica.data / "PG_VERSION").stat().st_mtime_ns
        with replica.started(source=database):
            replica.wait_for("SELECT count(*) FROM second", "0")
        assert (replica.data / "PG_VERSION").stat().st_mtime_ns == made


DOCKER = """#!/bin/sh
echo "$POSTGRES_PASSWORD: $*" >>{calls}
case "$*" in *" port "*) echo 127.0.0.1:{port} ;; esac
"""
ROLE = "CREATE ROLE app LOGIN SUPERUSER PASSWORD 'development'"


def test_development_has_its_database_in_a_container_where_docker_works(
    template: Path, tmp_path: Path
) -> None:
    """What `dev.py` asks Docker for; the server that a container would hold runs here without."""
    project = copy(template, tmp_path / "service", {"database": "postgresql+asyncpg"})
    shell("uv sync --quiet", project, environment())
    calls = tmp_path / "calls"
    with running_database(project) as url:
        python = str(project / ".venv/bin/python")
        plain = url._replace(scheme="postgresql").geturl()
        for statement in (ROLE, "CREATE DATABASE app"):
            subprocess.run([python, "-c", QUERY, plain, statement], check=True)
        (tmp_path / "docker").write_text(DOCKER.format(calls=calls, port=url.port))
        (tmp_path / "docker").chmod(0o755)
        path = f"{tmp_path}:{environment()['PATH']}"
        shell("uv run dev.py python -m app migrate", project, environment(PATH=path))
        there = url._replace(scheme="postgresql", path="/app").geturl()
        command = [python, "-c", QUERY, there, "SELECT count(*) FROM users"]
        assert subprocess.check_output(command, text=True).strip() == "0"

    asked = calls.read_text().splitlines()
    prefix = "development: compose --file=compose.yaml --file=compose.dev.yaml"
    prefix += " --project-name=dev-service"
    assert asked == [
        ": compose ls --quiet",
        f"{prefix} ps --quiet --status=running database",
        f"{prefix} up --detach --wait database",
        f"{prefix} port database 5432",
        f"{prefix} stop database",
    ]


class Container:
    """A PostgreSQL of the compose file, with the files and variables that its container has."""

    def __init__(self, name: str, project: Path, folder: Path) -> None:
        compose = yaml.safe_load((project / "compose.yaml").read_text())
        self.service = compose["services"][name]
        self.home = folder / name
        self.home.mkdir()
        # A volume, in which the image has its data two folders below.
        self.data = self.home / "18/docker"
        self.hba = folder / "pg_hba.conf"
        self.hba.write_text(compose["configs"]["pg_hba"]["content"])
        self.port = free_port()
        self.python = project / ".venv/bin/python"
        self.user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            shutil.chown(self.home, nobody.pw_uid, nobody.pw_gid)
        find = "import sys, tests.kit.server as s; print(s.find_binaries(s.Path(sys.argv[1])))"
        said = subprocess.check_output([self.python, "-c", find, folder], cwd=project, text=True)
        # The image listens everywhere; two of them on one machine need ports of their own.
        binaries = said.strip()
        program = self.home / "postgres"
        own = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        program.write_text(f'#!/bin/sh\nexec {binaries}/postgres "$@" {own}\n')
        program.chmod(0o755)
        given = {"PATH": f"{self.home}:{binaries}:/usr/bin:/bin", "PGDATA": str(self.data)}
        self.variables = given | dict.fromkeys(self.service["environment"], SECRET)

    def run(self, *command: str) -> None:
        """Run a program of the image to its end."""
        environment = self.variables | {"PATH": self.variables["PATH"].partition(":")[2]}
        result = subprocess.run(
            command, cwd="/", env=environment, capture_output=True, text=True, **self.user
        )
        assert result.returncode == 0, result.stderr

    @contextmanager
    def started(self, source: "Container | None" = None) -> Iterator[None]:
        """Run the command of the service until it is healthy, and stop it at the end."""
        command = [
            part.replace("$$", "$")
            .replace("/etc/postgresql/pg_hba.conf", str(self.hba))
            .replace("--host=database", "--host=127.0.0.1")
            for part in self.service["command"]
        ]
        variables = self.variables | ({"PGPORT": str(source.port)} if source else {})
        with (self.home / "log").open("ab") as log:
            program = shutil.which(command[0], path=variables["PATH"])
            process = subprocess.Popen(
                [str(program), *command[1:]],
                cwd="/",
                env=variables,
                stdout=log,
                stderr=subprocess.STDOUT,
                **self.user,
            )
        try:
            deadline = time.monotonic() + 60
            while not self.is_healthy():
                alive = process.poll() is None and time.monotonic() < deadline
                assert alive, (self.home / "log").read_text()
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)

    def is_healthy(self) -> bool:
        """Do the health check."""
        kind, *command = self.service["healthcheck"]["test"]
        assert kind == "CMD"
        variables = self.variables | {"PGPORT": str(self.port)}
        return not subprocess.run(command, env=variables, capture_output=True).returncode

    def query(self, statement: str, database: str = "app") -> str:
        """Run a statement as the service does, with the password, and give its first value."""
        url = f"postgresql://app@127.0.0.1:{self.port}/{database}"
        command = [str(self.python), "-c", QUERY, url, statement]
        variables = environment(PGPASSWORD=SECRET)
        result = subprocess.run(command, env=variables, capture_output=True, text=True)
        return result.stdout.strip() or result.stderr

    def wait_for(self, statement: str, value: str) -> None:
        """Wait until a statement gives a value."""
        deadline = time.monotonic() + 30
        while (found := self.query(statement)) != value:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


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
        self.port = free_port()
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
