"""What a service says about itself is true: its README and its docs, to the letter."""

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
from documentation import blocks, register, section, write_code
from interpreters import nearest
from projects import commit_all, copy
from questionnaire import QUESTIONS, ROOT, Answers, combinations, values
from services import environment, free_port, shell

CROSSED = ("database", "migrations", "pgbouncer", "read_replica")
VARIANTS = list(combinations({name: values(name) for name in CROSSED}))
START_SECONDS = 120
long = pytest.mark.long


def name_of(answers: Answers) -> str:
    backend = str(answers["database"]).partition("+")[0]
    return "-".join([backend, *(name for name, answer in answers.items() if answer is True)])


@pytest.fixture(scope="module", params=[pytest.param(a, id=name_of(a)) for a in VARIANTS])
def project(request: pytest.FixtureRequest, render: Render) -> Path:
    return render(request.param)


def test_links_lead_somewhere(project: Path) -> None:
    documents = sorted(project.rglob("*.md"))
    assert len(documents) > 8
    for document in documents:
        for target in re.findall(r"\]\((?!http)(.*?)\)", document.read_text()):
            name, _, anchor = target.partition("#")
            file = document.parent / name if name else document
            assert file.exists(), f"{document.relative_to(project)}: {target}"
            assert not anchor or anchor in anchors(file), f"{document.name}: {target}"


def anchors(document: Path) -> set[str]:
    """What links to its titles end in."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_index_of_the_documentation_names_every_page(project: Path) -> None:
    index = (project / "docs/README.md").read_text()
    for page in (project / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_readme_is_one_sitting(project: Path) -> None:
    assert len((project / "README.md").read_text().splitlines()) <= 150


def test_text_has_no_blank_line_too_many(project: Path) -> None:
    for document in project.rglob("*.md"):
        text = re.sub(r"^```.*?^```", "code", document.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert "\n\n\n" not in text, document.name
        assert text.endswith("\n"), document.name
        assert not text.endswith("\n\n"), document.name


def test_markdown_of_the_template_is_readable() -> None:
    sources = [path for top in ("template", "variants") for path in (ROOT / top).rglob("*.md*")]
    assert len(sources) > 20
    for source in sources:
        tags = len(re.findall(r"{{|{%", source.read_text()))
        assert tags <= 15, f"{source.relative_to(ROOT)} has {tags} Jinja tags"


def test_page_on_postgresql_links_to_what_follows_one_primary(
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
        assert f"\n{text} of the template" in (project / "docs/database.md").read_text()


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
        pytest.param(
            {"database": "sqlite+aiosqlite", "migrations": False}, id="sqlite-tables", marks=long
        ),
        pytest.param(
            {"database": "postgresql+asyncpg", "read_replica": True, "pgbouncer": True},
            id="postgresql",
            marks=long,
        ),
        pytest.param({"database": "mysql+aiomysql", "example": False}, id="mysql", marks=long),
        pytest.param(
            {"database": "mysql+aiomysql", "migrations": False, "containers": False},
            id="mysql-tables",
            marks=long,
        ),
    ],
)
def test_feature_of_the_readme_is_a_working_endpoint(
    answers: Answers, template: Path, home: Path
) -> None:
    project = copy(template, home / "service", answers)
    commit_all(project)
    port = free_port()
    _, interpreter = nearest(QUESTIONS["python_version"]["default"])
    variables = environment(UV_PYTHON=str(interpreter), PORT=str(port))
    *preparations, serve = blocks("sh", section(project / "README.md", "Run"))[0].splitlines()
    for command in preparations:
        shell(command, project, variables)
    with Service(serve, project, variables) as service:
        service.wait_for("/health/ready")

        steps = section(project / "README.md", "Add a feature")
        test = section(project / "docs/extending.md", "A test")
        for command in re.findall(r"`(mkdir .*?)`", steps + test):
            shell(command, project, variables)
        write_code(project, steps)
        write_code(project, test)
        models, router = re.findall(r"`((?:import|from) app\.notes.*?)`", steps)
        register(project, router, models)
        for command in blocks("sh", steps):
            shell(command, project, variables)

        # The service has started again by itself.
        note = service.wait_for("/api/v1/notes", {"text": "Buy milk."})
        found = service.wait_for(f"/api/v1/notes/{note['id']}")
    assert note["text"] == "Buy milk."
    assert found == note
    own = " ".join(
        name
        for name in ("tests/notes", "tests/test_conventions.py", "tests/example/test_openapi.py")
        if (project / name).exists()
    )
    checks = "uv run ruff check --fix && uv run ruff format && uv run mypy . && uv run pytest"
    shell(f"{checks} {own}", project, variables)


def test_extension_points_work_as_documented(template: Path, home: Path) -> None:
    project = copy(template, home / "service", {"migrations": False})
    _, interpreter = nearest(QUESTIONS["python_version"]["default"])
    variables = environment(UV_PYTHON=str(interpreter))
    extending = project / "docs/extending.md"
    text = extending.read_text()
    for command in re.findall(r"`(uv add .*?)`", text):
        shell(command, project, variables)
    write_code(project, section(project / "README.md", "Add a feature"))
    write_code(project, text)
    register(project, "from app.notes.router import router as notes", "import app.notes.models")
    for name in ("contact", "whoami"):
        register(project, f"from app.{name} import router as {name}")
    register(project, "from app.notes.export import router as export")
    shutil.copy(ROOT / "tests/extending/checks.py", project / "tests/test_extending.py")
    shell(
        "uv run ruff check --fix && uv run ruff format "
        "&& uv run mypy app tests/notes tests/test_extending.py "
        "&& uv run pytest tests/notes tests/test_extending.py "
        "&& uv run python -m app settings | grep SUPPORT_EMAIL",
        project,
        variables,
    )


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
