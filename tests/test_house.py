"""The house of a service: what is its owner's, what is the kit's, and how much there is to read."""

import hashlib
import re
from pathlib import Path

import pytest
from conftest import Render
from projects import commit_all, copy_of, files_of, update
from questionnaire import ROOT, Answers

TEMPLATE = ROOT / "template"
# The owner's files as of 0.1.0: the beginning of their SHA-256.
FROZEN = {
    "app/__init__.py": "e3b0c44298fc1c14",
    "app/__main__.py": "3318db26d8be8659",
    "app/api.py": "f5c17fd0f6ae5236",
    "app/errors.py": "f1cb785972504161",
    "app/jobs.py": "a17dea577aaeac0a",
    "app/main.py": "32104b46e250685d",
    "app/models.py": "1adae2d85e281d13",
    "app/settings.py": "c6b8586a65584fb6",
    "tests/__init__.py": "e3b0c44298fc1c14",
    "tests/conftest.py": "2ea066d079f2dfd7",
    "tests/test_conventions.py": "e3342671e1de952e",
    "migrations/versions/0001_idempotency_keys.py": "419e941e7c0c17fc",
    "migrations/versions/0002_example.py": "3466c5935cd83493",
}
WHY_FROZEN = """{name} belongs to the owners of services, who have edited it since they made theirs:
every change here is merged into their lines, and conflicts with them. Change the kit instead.
(Until 0.1.0 is released, FROZEN may follow the file: {digest}.)"""
EXAMPLE: dict[bool, Answers] = {answer: {"example": answer} for answer in (True, False)}


def owner_files(folder: Path) -> dict[str, bytes]:
    """What lies beside the kit, the features and their tests, by its path."""
    patterns = ("app/*", "tests/*", "migrations/versions/*")
    paths = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", sorted(FROZEN.keys() | owner_files(TEMPLATE).keys()))
def test_owner_file_is_frozen(name: str) -> None:
    content = owner_files(TEMPLATE).get(name, b"(gone)")
    digest = hashlib.sha256(content).hexdigest()[:16]
    assert digest == FROZEN.get(name), WHY_FROZEN.format(name=name, digest=digest)


def test_owner_files_hold_no_jinja() -> None:
    # So they are the same for every answer; `tests/test_rendering.py` compares them.
    for name, content in owner_files(TEMPLATE).items():
        assert not name.endswith(".jinja")
        assert not re.search(rb"\{[{%#]", content), name


def test_owner_has_little_to_read(render: Render) -> None:
    python = {
        name: len(content.splitlines())
        for name, content in files_of(render({"example": False})).items()
        if re.fullmatch(r"app/(?!kit/).*\.py", name)
    }
    assert sum(python.values()) <= 200, python


@pytest.mark.parametrize("example", EXAMPLE)
def test_owner_has_few_entries_among_the_tests(example: bool, render: Render) -> None:
    entries = {path.name for path in (render(EXAMPLE[example]) / "tests").iterdir()}
    assert len(entries - {"kit", "__pycache__"}) <= 6, entries


def test_questionnaire_is_short() -> None:
    text = (ROOT / "copier.yml").read_text(encoding="utf-8")
    exclude = re.search(r"^_exclude:\n((?:  .*\n)+)", text, re.MULTILINE)
    assert exclude
    assert len(exclude[1].splitlines()) <= 35
    assert len(text.splitlines()) <= 350


def tags(pattern: str, *suffixes: str) -> dict[str, int]:
    """How many Jinja tags that match a pattern each file of the template holds."""
    return {
        path.relative_to(ROOT).as_posix(): len(re.findall(pattern, path.read_text("utf-8")))
        for folder in (TEMPLATE, ROOT / "variants")
        for path in folder.rglob("*")
        if path.name.endswith(suffixes)
    }


def test_markdown_holds_little_jinja() -> None:
    found = tags(r"\{[{%]", ".md", ".md.jinja")
    assert {name: number for name, number in found.items() if number > 15} == {}


def test_python_holds_next_to_no_jinja() -> None:
    found = tags(r"\{%", ".py", ".py.jinja")
    assert {name: number for name, number in found.items() if number > 8} == {}


# What teams write into the two lists of features, beside the lines of the example.
EDITS = {
    "app/api.py": [
        ("\nPREFIX", "\nfrom app.invoices.router import router as invoices\n\nPREFIX"),
        ("    *EXAMPLE,\n", "    *EXAMPLE,\n    invoices,\n"),
    ],
    "app/models.py": [
        ("import app.example.models\n", "import app.example.models\nimport app.invoices.models\n")
    ],
}


@pytest.mark.parametrize("before", EXAMPLE)
def test_example_comes_and_goes_beside_the_features_of_the_owner(
    before: bool, fresh: Render
) -> None:
    project = copy_of(fresh(EXAMPLE[before]))
    for name, replacements in EDITS.items():
        text = (project / name).read_text(encoding="utf-8")
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (project / name).write_text(text, encoding="utf-8")
    commit_all(project)
    edited = owner_files(project)

    # Without a conflict.
    update(project, EXAMPLE[not before])

    # What the owner's lists name is there with both answers.
    assert {name: edited[name] for name in EDITS} == {
        name: (project / name).read_bytes() for name in EDITS
    }
    for name in ("models", "routers"):
        path = f"app/example/{name}.py"
        assert (project / path).read_bytes() == (fresh(EXAMPLE[not before]) / path).read_bytes()
