"""What an update leaves runs: the team's tests and the service's own pass, and the rows are there.

An update changes code only, so a database lives on as long as its driver does.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from interpreters import nearest
from living_project import move_in
from projects import answers_of, commit_all, copy, update, update_by_command
from questionnaire import ROOT, SAMPLES, Answers, values
from services import databases, environment, run_uv, shell
from switches import Switch, valid

SQLITE = "sqlite+aiosqlite"
POSTGRESQL = "postgresql+asyncpg"
MYSQL = "mysql+aiomysql"
pytestmark = pytest.mark.long

SWITCHES: dict[str, Switch] = {
    "sqlite-to-postgresql": ({}, {"database": POSTGRESQL}),
    "postgresql-to-sqlite": ({"database": POSTGRESQL}, {"database": SQLITE}),
    "sqlite-to-mysql": ({}, {"database": MYSQL}),
    "to-a-replica": ({"database": POSTGRESQL}, {"read_replica": True}),
    "to-pgbouncer": ({"database": POSTGRESQL, "read_replica": True}, {"pgbouncer": True}),
    "from-migrations": ({}, {"migrations": False}),
    "from-the-example": ({}, {"example": False}),
    "to-the-example": ({"example": False}, {"example": True}),
}

# Fills the tables through the service, or only waits until it is ready.
SERVICE = """
import asyncio, sys
from httpx2 import ASGITransport, AsyncClient
from app.main import app

INVOICE = {"number": sys.argv[1], "customer": "Größe & Co", "amount": "1234567.89"}
USER = {"username": "ann", "email": "ann@example.org", "balance": "10.10"}
ITEM = {"name": "Lamp", "price": "19.99", "sku": "A-17", "user_id": 1}

async def main():
    client = AsyncClient(transport=ASGITransport(app), base_url="http://test")
    async with app.router.lifespan_context(app), client:
        async with asyncio.timeout(60):
            while (await client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.1)
        for path, body in ("invoices", INVOICE), ("users", USER), ("items", ITEM):
            if sys.argv[1] == "1" or path == "invoices":
                response = await client.post(f"/api/v1/{path}", json=body)
                assert response.status_code == 201, response.text

asyncio.run(main())
"""

# Prints every row of every table, as text.
ROWS = """
import asyncio, json, sys
from sqlalchemy import MetaData, select
import app.models
from app.kit.db.base import Base
from app.kit.db.engine import create_engine
from app.settings import Settings

def rows(connection):
    found = Base.metadata
    if sys.argv[1] == "database":
        found = MetaData()
        found.reflect(connection)
    return {
        table.name: [
            {name: str(value) for name, value in row._mapping.items()}
            for row in connection.execute(select(table).order_by(*table.primary_key))
        ]
        for table in found.sorted_tables
        if table.name != "alembic_version"
    }

async def main():
    engine = create_engine(Settings(), "migrate")
    async with engine.connect() as connection:
        print(json.dumps(await connection.run_sync(rows)))
    await engine.dispose()

asyncio.run(main())
"""

Rows = dict[str, list[dict[str, str]]]


class Service:
    """An installed project, on a database."""

    def __init__(self, project: Path, url: str = "") -> None:
        self.project = project
        self._url = url

    @property
    def environment(self) -> dict[str, str]:
        """What the service finds in its environment."""
        # There is no PgBouncer here; then the README says to set these.
        proxied = answers_of(self.project).get("pgbouncer", False)
        direct = {"DATABASE_DIRECT_URL": self._url, "DATABASE_PGBOUNCER": "false"}
        return {"DATABASE_URL": self._url, **(direct if proxied else {})} if self._url else {}

    def sync(self) -> None:
        """Install what the project depends on now."""
        python = nearest(answers_of(self.project)["python_version"])[1]
        run_uv(self.project, "sync", "--quiet", f"--python={python}")

    def run(self, *command: str) -> str:
        """Run a command in the project's environment."""
        return run_uv(self.project, "run", "--quiet", "--no-sync", *command, **self.environment)

    def migrate(self) -> None:
        """Upgrade the schema, where that is a command."""
        if answers_of(self.project)["migrations"]:
            self.run("python", "-m", "app", "migrate")

    def use(self, number: int) -> None:
        """Start the service, create the invoice of a number, and with the first one all else."""
        self.run("python", "-W", "ignore", "-c", SERVICE, str(number))

    def rows(self, of: str = "database") -> Rows:
        """What is in the tables, as the database has it or as the models do."""
        found: Rows = json.loads(self.run("python", "-c", ROWS, of))
        return found

    def check(self) -> None:
        """Run all that the README says checks the project."""
        self.run("ruff", "check")
        self.run("ruff", "format", "--check")
        self.run("mypy", ".")
        self.run("pytest")


def living(template: Path, folder: Path, answers: Answers) -> Path:
    """A project with some answers, and with all that its team did."""
    project = copy(template, folder / "project", valid(answers))
    commit_all(project)
    return move_in(project)


@pytest.fixture
def server(
    request: pytest.FixtureRequest, template: Path, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """The URLs of two empty databases, on the server of a project that no test changes."""
    project = copy(template, tmp_path / "server", valid({"database": request.param}))
    Service(project).sync()
    with databases(project, "app_test", "empty_test") as (url, empty):
        yield url, empty


@pytest.mark.parametrize("switch", SWITCHES)
def test_all_tests_pass_after_the_switch(switch: str, template: Path, tmp_path: Path) -> None:
    before, after = SWITCHES[switch]
    service = Service(living(template, tmp_path, before))

    message = update_by_command(service.project, *(f"-d{n}={a}" for n, a in after.items()))

    service.sync()
    if "migrations" in after:
        shell(command("git rm", message), service.project, environment())
    if "example" in after:
        # Models came or went: then the message says to write a migration.
        service.migrate()
        shell(
            command("--autogenerate", message),
            service.project,
            environment(**service.environment),
        )
    service.check()


@pytest.mark.parametrize("server", [SQLITE, POSTGRESQL, MYSQL], indirect=True)
def test_tables_that_were_created_at_start_up_are_adopted_by_migrations(
    server: tuple[str, str], template: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url, empty = server
    database = url.partition(":")[0]
    service = Service(living(template, tmp_path, {"database": database, "migrations": False}), url)
    service.sync()
    service.use(1)
    rows = service.rows()
    commit_all(service.project)

    message = update_by_command(service.project, "-dmigrations=yes")

    said = re.findall(r"^ {4}(\S.*)$", message.partition("There is no revision")[2], re.MULTILINE)
    assert len(said) >= 4
    page = (service.project / "docs/troubleshooting.md").read_text(encoding="utf-8")
    for line in said:
        assert line in page or "alembic" not in line
        shell(line.replace("EMPTY", empty), service.project, environment(**service.environment))
    service.run("alembic", "check")
    assert service.rows() == rows
    service.use(2)

    commit_all(service.project)
    add_column(service.project)
    service.run("alembic", "revision", "--autogenerate", "-m", "Notes")
    service.migrate()
    assert service.rows()["invoices"][0] == rows["invoices"][0] | {"note": "None"}
    service.use(3)
    assert len(service.rows()["invoices"]) == 3


def add_column(project: Path) -> None:
    """Give invoices a note."""
    models = project / "app/invoices/models.py"
    text = models.read_text(encoding="utf-8")
    models.write_text(f"{text}    note: Mapped[str | None] = mapped_column(String(50))\n", "utf-8")


@pytest.mark.parametrize("server", [SQLITE, POSTGRESQL, MYSQL], indirect=True)
def test_tables_of_the_example_go_by_a_migration(
    server: tuple[str, str], template: Path, tmp_path: Path
) -> None:
    url, _ = server
    service = Service(living(template, tmp_path, {"database": url.partition(":")[0]}), url)
    service.sync()
    service.migrate()
    service.use(1)
    rows = service.rows()
    assert rows["users"]
    commit_all(service.project)

    message = update_by_command(service.project, "-dexample=no")

    shell(command("--autogenerate", message), service.project, environment(**service.environment))
    service.migrate()
    assert service.rows() == {name: rows[name] for name in ("idempotency_keys", "invoices")}
    service.run("pytest", "tests/kit/test_migrations.py")


@pytest.mark.parametrize("server", [SQLITE, POSTGRESQL, MYSQL], indirect=True)
def test_rows_live_through_every_switch_that_keeps_the_driver(
    server: tuple[str, str], template: Path, tmp_path: Path
) -> None:
    url, _ = server
    database = url.partition(":")[0]
    answers = {"database": database, "tune_pool": True}
    service = Service(living(template, tmp_path, answers), url)
    service.sync()
    service.migrate()
    service.use(1)
    number = 1

    for name, value in walk(answers_of(service.project)):
        rows = service.rows()
        commit_all(service.project)

        update(service.project, {name: value})

        service.sync()
        service.migrate()
        number += 1
        service.use(number)
        kept = service.rows()
        assert kept.pop("invoices")[:-1] == rows.pop("invoices"), f"{name}={value}"
        assert kept == rows, f"{name}={value}"
    assert number > 20


@pytest.mark.parametrize("server", [POSTGRESQL, MYSQL], indirect=True)
def test_rows_are_copied_to_another_database_as_the_docs_say(
    server: tuple[str, str], template: Path, tmp_path: Path
) -> None:
    url, _ = server
    old_url = f"{SQLITE}:///{tmp_path}/old.db"
    service = Service(living(template, tmp_path, {}), old_url)
    service.sync()
    service.migrate()
    service.use(1)
    rows = service.rows("models")
    commit_all(service.project)

    update(service.project, {"database": url.partition(":")[0]})

    service = Service(service.project, url)
    service.sync()
    service.migrate()
    text = (ROOT / "docs/updating.md").read_text(encoding="utf-8")
    script = re.search(r"<!-- copy -->\n```python\n(.+?)```", text, re.DOTALL)
    assert script
    (tmp_path / "copy_rows.py").write_text(script[1], encoding="utf-8")
    copy_rows = ["--with=aiosqlite", "python", f"{tmp_path}/copy_rows.py"]
    shell(
        shlex.join(["uv", "run", "--no-sync", *copy_rows, old_url, url]),
        service.project,
        environment(PYTHONPATH=str(service.project)),
    )
    assert service.rows("models") == rows
    service.use(2)
    assert len(service.rows()["invoices"]) == 2


def walk(answers: Answers) -> Iterator[tuple[str, Any]]:
    """The other values of each question but the driver's, each followed by the next, and back."""
    for name, first in answers.items():
        if name != "database":
            tried = SAMPLES[name][:2] if name in SAMPLES else values(name)
            yield from ((name, value) for value in tried if value != first)
            yield name, first


def command(part: str, message: str) -> str:
    """The command in a message that has some part in it, without its comment."""
    found = [line.partition("  #")[0].strip() for line in message.splitlines() if part in line]
    assert len(found) == 1
    return found[0]
