"""Reads the documentation of a rendered service, and does to the service what it says."""

import re
from pathlib import Path


def section(document: Path, title: str) -> str:
    """A section of a document."""
    text = document.read_text(encoding="utf-8")
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{document} has no section {title!r}"
    return found[1]


def blocks(language: str, text: str) -> list[str]:
    """The code blocks of a text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def write_code(project: Path, text: str) -> None:
    """Write the Python of a text into the files that the first lines of its blocks name.

    A block is a whole file, or what is to be added "at the end", "in the class" or "before" a
    line of one; then its imports go to the others.
    """
    for block in blocks("python", text):
        header, _, code = block.partition("\n")
        name, _, where = header.removeprefix("# ").partition(", ")
        file = project / name
        if not where:
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / "__init__.py").touch()
            file.write_text(code)
            continue
        lines = code.splitlines()
        imports = [line for line in lines if line.startswith(("from ", "import "))]
        addition = "\n".join(line for line in lines if line not in imports).strip("\n")
        present = file.read_text()
        if where == "at the end":
            present = f"{present.rstrip()}\n\n\n{addition}\n"
        else:
            before = re.fullmatch("before `(.*)`", where)
            anchor = f"    {before[1]}\n" if before else "\n\nSettingsDep"
            assert present.count(anchor) == 1, header
            present = present.replace(anchor, f"{addition}\n{anchor}")
        file.write_text(with_imports(present, imports))


def with_imports(text: str, imports: list[str]) -> str:
    """A module with some more imports, each where there is none of the same module."""
    for line in imports:
        module, _, names = line.removeprefix("from ").partition(" import ")
        existing = re.search(rf"^from {re.escape(module)} import (.*)$", text, re.MULTILINE)
        if existing:
            union = sorted({*existing[1].split(", "), *names.split(", ")})
            text = text.replace(existing[0], f"from {module} import {', '.join(union)}", 1)
        else:
            first = re.search("^(from|import) ", text, re.MULTILINE)
            assert first
            text = f"{text[: first.start()]}{line}\n{text[first.start() :]}"
    return text


def register(project: Path, router: str, models: str | None = None) -> None:
    """Add the import of a router, and that of models, to the two registries."""
    if models:
        file = project / "app/models.py"
        file.write_text(with_imports(file.read_text(), [models]))
    file = project / "app/api.py"
    name = router.rpartition(" as ")[2]
    text = with_imports(file.read_text(), [router])
    file.write_text(text.replace("ROUTERS = [", f"ROUTERS = [\n    {name},"))
