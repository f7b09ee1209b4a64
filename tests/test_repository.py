"""The code of this repository is tidy: its tests, and the files that services are made of."""

import re
import shlex
import subprocess
import sys
from itertools import pairwise

import pytest
import yaml
from questionnaire import ROOT, values
from services import tool
from test_profiles import PROFILES


@pytest.mark.parametrize(
    "command", ["ruff check", "ruff format --check", "mypy"], ids=["lint", "format", "types"]
)
def test_code_is_tidy(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_scripts_are_lint_clean() -> None:
    tool("shellcheck", ROOT / ".ci/run", *(ROOT / "tests").rglob("*.sh"))


def test_no_condition_in_the_template_names_a_driver() -> None:
    # Its own files are below variants/; what else is asked of it is in `driver` of copier.yml.
    names = {name for database in values("database") for name in database.split("+")}
    asks = re.compile(rf"\b(backend|database)\s*(==|!=|in\b)|{'|'.join(sorted(names))}")
    found = [
        f"{path.relative_to(ROOT)}: {tag}"
        for path in sorted((ROOT / "template").rglob("*.jinja"))
        for tag in re.findall(r"\{[%{].*?[%}]\}", path.read_text(encoding="utf-8"), re.DOTALL)
        if asks.search(tag)
    ]
    assert found == []


def test_files_ask_for_answers_that_apply() -> None:
    # An answer that does not apply for now is remembered; what is rendered instead is in `pool` and
    # `kubernetes_manifests` of copier.yml.
    asks = re.compile(r"(?<![.\w])(pool_(size|timeout|recycle|pre_ping)|max_overflow|kubernetes)\b")
    found = [
        f"{path.relative_to(ROOT)}: {tag}"
        for folder in ("template", "variants")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        for tag in re.findall(r"\{[%{].*?[%}]\}", path.read_text(encoding="utf-8"), re.DOTALL)
        if asks.search(tag)
    ]
    assert found == []


def test_jobs_of_the_matrix_run_all_tests() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    jobs = workflow["jobs"]["matrix"]["strategy"]["matrix"]["tests"]
    files = {ROOT / name for job in jobs for name in shlex.split(job) if name.startswith("tests/")}
    everything = set((ROOT / "tests").glob("test_*.py"))
    everything |= {path.parent for path in (ROOT / "tests").glob("*/test_*.py")}
    assert files == everything
    options = [dict(pairwise(words)) for words in map(shlex.split, jobs)]
    chosen = [word for option in options for word in option.get("-k", "").split(" or ") if word]
    assert [name for name in PROFILES if not any(word in name for word in chosen)] == []
