"""What a service says about itself is true: its README, to the letter, and `.env.example`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from conftest import Render
from interpreters import nearest
from projects import commit_all, copy
from questionnaire import QUESTIONS, Answers, combinations, values
from services import PASSWORDS, environment, free_port, shell

CROSSED = ("database", "migrations", "pgbouncer", "read_replica")
VARIANTS = list(combinations({name: values(name) for name in CROSSED}))
START_SECONDS = 120


def name_of(answers: Answers) -> str:
    backend = str(answers["database"]).partition("+")[0]
    return "-".join([backend, *(name for name, answer in answers.items() if answer is True)])


@pytest.fixture(scope="module", params=[pytest.param(a, id=name_of(a)) for a in VARIANTS])
def project(request: pytest.FixtureRequest, render: Render) -> Path:
    return render(request.param)


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

def written(value):
    if value is None or value == ():
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)

example = Path(".env.example").read_text()
Path(".env").write_text("\\n".join(re.findall("^# ([A-Z_]+=.*)", example, re.MULTILINE)))
plain = Settings(_env_file=None)
given = Settings(_env_file=".env")
json.dump({
    name.upper(): [written(getattr(plain, name)), written(getattr(given, name))]
    for name in Settings.model_fields
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def settings(
    project: Path, with_settings: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """Each setting with its default, and with what it is by the lines of `.env.example`."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(project / "app", folder / "app")
    shutil.copy(project / ".env.example", folder)
    command = [str(with_settings), "-c", READ_SETTINGS]
    output = subprocess.check_output(command, cwd=folder, env=environment(), text=True)
    found: dict[str, list[str]] = json.loads(output)
    return found


def test_env_example_has_every_setting_with_its_default(
    project: Path, settings: dict[str, list[str]]
) -> None:
    lines = (project / ".env.example").read_text().splitlines()
    assert all(line.startswith("# ") or not line for line in lines)
    named = re.findall(r"^# ([A-Z_]+)=", "\n".join(lines), re.MULTILINE)
    assert [name for name in named if name not in PASSWORDS] == list(settings)
    for name, (default, given) in settings.items():
        # Without a value, it depends on others; then the file shows a value that it can have.
        assert given == default or default == "", name


def test_readme_has_every_setting_with_its_default(
    project: Path, settings: dict[str, list[str]]
) -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|(?: `(.*?)`)? \|", section(project, "Configure"), re.M)
    expected = {name: default for name, (default, _) in settings.items()}
    missing = [
        f"| `{name}` |{f' `{default}`' if default else ''} | UNIT, MEANING |"
        for name, default in expected.items()
        if (name, default) not in rows
    ]
    assert not missing, "\n".join(["template/README.md.jinja lacks these rows:", *missing])
    assert [name for name, _ in rows] == list(expected), "another order, or too many"


def test_links_of_the_readme_lead_somewhere(project: Path) -> None:
    readme = (project / "README.md").read_text()
    titles = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", readme, flags=re.DOTALL), re.M)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\((?!http)(.*?)\)", readme):
        file, _, anchor = target.partition("#")
        assert not file or (project / file).exists(), target
        assert not anchor or anchor in anchors, target


def test_postgresql_readme_links_to_what_follows_one_primary(
    template: Path, tmp_path: Path
) -> None:
    page = "docs/beyond-one-primary.md"
    assert (template / page).is_file()
    # Git finds here what it is told to get there.
    instead = f'[url "{template}"]\n\tinsteadOf = https://github.com/owner/name.git\n'
    instead += "\tinsteadOf = https://somebody:secret@github.com/owner/name\n"
    (tmp_path / "gitconfig").write_text(instead)
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    link = f"[{page}](https://github.com/owner/name/blob/HEAD/{page})"
    addresses = {
        "gh:owner/name": link,
        "https://github.com/owner/name.git": link,
        "git+https://somebody:secret@github.com/owner/name": link,
        str(template): f"`{page}`",
    }
    for number, (address, text) in enumerate(addresses.items()):
        project = tmp_path / str(number)
        options = ["--quiet", "--defaults", "-d", "database=postgresql+asyncpg"]
        command = [sys.executable, "-m", "copier", "copy", *options, address, str(project)]
        subprocess.run(command, env=environment, check=True)
        assert f"told by {text} of the template" in (project / "README.md").read_text()


def section(project: Path, title: str) -> str:
    """A section of the README."""
    readme = (project / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title!r}"
    return found[1]


def blocks(language: str, text: str) -> list[str]:
    """The code blocks of a text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that others can enter, too, as PostgreSQL must where the tests are root's."""
    with tempfile.TemporaryDirectory(prefix="home-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"database": "sqlite+aiosqlite"}, id="sqlite"),
        pytest.param({"database": "sqlite+aiosqlite", "migrations": False}, id="sqlite-tables"),
        pytest.param(
            {"database": "postgresql+asyncpg", "read_replica": True, "pgbouncer": True},
            id="postgresql",
        ),
        pytest.param({"database": "mysql+aiomysql", "example": False}, id="mysql"),
        pytest.param(
            {"database": "mysql+aiomysql", "migrations": False, "containers": False},
            id="mysql-tables",
        ),
    ],
)
def test_five_steps_end_in_a_working_endpoint(answers: Answers, template: Path, home: Path) -> None:
    project = copy(template, home / "service", answers)
    commit_all(project)
    port = free_port()
    _, interpreter = nearest(QUESTIONS["python_version"]["default"])
    variables = environment(UV_PYTHON=str(interpreter), PORT=str(port))
    *preparations, serve = blocks("sh", section(project, "Run"))[0].splitlines()
    for command in preparations:
        shell(command, project, variables)
    with Service(serve, project, variables) as service:
        service.wait_for("/health/ready")

        steps = section(project, "Add a feature")
        for command in re.findall(r"\(`(mkdir .*?)`\)", steps):
            shell(command, project, variables)
        for code in blocks("python", steps):
            path = code.partition("\n")[0].removeprefix("# ")
            (project / path).write_text(code)
        add_lines(project, *re.findall(r"`((?:import|from) app\.notes.*?)`", steps))
        *commands, checks = blocks("sh", steps)
        for command in commands:
            shell(command, project, variables)

        # The service has started again by itself.
        note = service.wait_for("/api/v1/notes", {"text": "Buy milk."})
        listed = service.wait_for("/api/v1/notes")
    assert note["text"] == "Buy milk."
    assert note in listed["items"]
    own = " ".join(
        name
        for name in (
            "tests/test_notes.py",
            "tests/test_migrations.py",
            "tests/example/test_openapi.py",
        )
        if (project / name).exists()
    )
    assert checks.rstrip().endswith("uv run pytest")
    shell(f"{checks.rstrip()} {own}", project, variables)


def add_lines(project: Path, models: str, router: str) -> None:
    """Add the lines that the README asks for to the two files that it names."""
    file = project / "app/models.py"
    file.write_text(f"{file.read_text()}{models}\n")
    file = project / "app/api.py"
    text = file.read_text().replace("\nfrom app", f"\n{router}\nfrom app", 1)
    file.write_text(text.replace("ROUTERS = [", "ROUTERS = [\n    notes,"))


class Service:
    """What a command serves until the end of the block, where Ctrl-C stops it."""

    def __init__(self, command: str, folder: Path, variables: dict[str, str]) -> None:
        self._url = f"http://127.0.0.1:{variables['PORT']}"
        self._log = folder.with_name("log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            running = subprocess.run(["ps", "-ef"], capture_output=True, text=True).stdout
            raise AssertionError(f"Ctrl-C: {self._log.read_text()}\n{running}") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait_for(self, path: str, body: Any = None) -> Any:
        """Request a path until it answers with success; return the answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urlopen(Request(self._url + path, data, headers), timeout=10) as response:
                    return json.load(response)
            except (URLError, OSError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"{path}: {error}\n{self._log.read_text()}") from error
                time.sleep(0.2)
