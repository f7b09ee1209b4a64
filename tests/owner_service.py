"""The owner's service: what people write in the first months, laid over a rendered service.

A folder below `tests/owner` is a topic: its files lie there as they do in a project, and
`additions.toml` says what it adds to files that the service already has. What is done with them is
what README.md of a service tells to do for a feature. Its authentication is the one that the
documentation prints.
"""

import shutil
import tomllib
from pathlib import Path

import documentation
from questionnaire import ROOT
from services import run_uv

OWNER = ROOT / "tests" / "owner"
TOPICS = sorted(path.name for path in OWNER.iterdir())
ADDITIONS = "additions.toml"


def move_in(project: Path) -> None:
    """Make a rendered service the owner's: its features, its dependencies, and what it changed.

    The migration is missing: see `add_migration`.
    """
    dependencies: list[str] = []
    for topic in TOPICS:
        folder = OWNER / topic
        for source in sorted(folder.rglob("*.py")):
            target = project / source.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for package in sorted(path for path in folder.glob("app/*") if path.is_dir()):
            _register(project, package)
        if (folder / ADDITIONS).exists():
            wanted = tomllib.loads((folder / ADDITIONS).read_text(encoding="utf-8"))
            dependencies += wanted.get("dependencies", [])
            for addition in wanted.get("additions", []):
                _add(project, **addition)
    _write_authentication(project)
    run_uv(project, "add", "--quiet", "--no-sync", *dependencies)
    run_uv(project, "sync", "--quiet")
    # Sorts the imports that were added anywhere.
    run_uv(project, "run", "--no-sync", "ruff", "check", "--quiet", "--select=I", "--fix", "app")
    run_uv(project, "run", "--no-sync", "ruff", "format", "--quiet", "app")


def add_migration(project: Path, database_url: str) -> None:
    """Write the migration for the owner's models, and apply it."""
    arguments = ("run", "--no-sync")
    run_uv(project, *arguments, "python", "-m", "app", "migrate", DATABASE_URL=database_url)
    revision = ("alembic", "revision", "--autogenerate", "-m", "add features")
    run_uv(project, *arguments, *revision, DATABASE_URL=database_url)
    run_uv(project, *arguments, "python", "-m", "app", "migrate", DATABASE_URL=database_url)
    run_uv(project, *arguments, "alembic", "check", DATABASE_URL=database_url)


def own_tests() -> list[str]:
    """The owner's tests, and the template's tests of the owner's code, to be named to pytest."""
    own = [path.relative_to(OWNER / t) for t in TOPICS for path in (OWNER / t).glob("tests/*")]
    return sorted([*map(str, own), "tests/test_conventions.py"])


def _write_authentication(project: Path) -> None:
    """Write the file that a service's documentation has for it."""
    text = documentation.section(project / "docs/extending.md", "Authentication")
    [code] = [
        code
        for block in documentation.blocks("python", text)
        for name, _, code in [block.partition("\n")]
        if name == "# app/auth.py"
    ]
    (project / "app/auth.py").write_text(code, encoding="utf-8")


def _register(project: Path, package: Path) -> None:
    """Add a feature to the two registries."""
    name = package.name
    if (package / "models.py").exists():
        models = {"below": "import app.example", "lines": f"import app.{name}.models"}
        _add(project, file="app/models.py", **models)
    if (package / "router.py").exists():
        lines = f"from app.{name}.router import router as {name}"
        _add(project, file="app/api.py", below="from app.example", lines=lines)
        _add(project, file="app/api.py", below="ROUTERS = [", lines=f"    {name},")


def _add(project: Path, *, file: str, lines: str, below: str = "", instead_of: str = "") -> None:
    """Add lines to a file: below the first line that begins so, or instead of it."""
    path = project / file
    text = path.read_text(encoding="utf-8").splitlines()
    start = below or instead_of
    places = [number for number, line in enumerate(text) if line.startswith(start)]
    assert places, f"{file} has no line that begins with {start!r}"
    place = places[0] + (1 if below else 0)
    text[place : places[0] + 1] = lines.strip("\n").splitlines()
    path.write_text("\n".join([*text, ""]), encoding="utf-8")
