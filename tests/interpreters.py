"""The Pythons on this machine; none is downloaded."""

import os
import subprocess
from functools import cache
from pathlib import Path

import uv
from questionnaire import QUESTIONS

VERSIONS: list[str] = QUESTIONS["python_version"]["choices"]


@cache
def installed() -> dict[str, Path]:
    """The interpreters of the versions that the template supports, as far as there are any."""
    found = {version: path for version in VERSIONS if (path := _find(version))}
    assert found, f"none of Python {', '.join(VERSIONS)} is installed"
    return found


def nearest(version: str) -> tuple[str, Path]:
    """A version with its interpreter: this one, else the next newer, else the newest of all."""
    found = list(installed())
    newer = [v for v in VERSIONS[VERSIONS.index(version) :] if v in found]
    chosen = newer[0] if newer else found[-1]
    return chosen, installed()[chosen]


def report() -> str:
    """Which interpreters there are, and what that means for the tests."""
    missing = [
        f"Python {version} is not installed: its profiles run on {nearest(version)[0]}"
        for version in VERSIONS
        if version not in installed()
    ]
    return "; ".join([f"interpreters: {', '.join(installed())}", *missing])


def _find(version: str) -> Path | None:
    # First where pyenv has them: its shims in the PATH may be unable to run, and then uv gives up.
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for interpreter in pyenv.glob(f"versions/{version}.*/bin/python"):
        return interpreter
    command = [uv.find_uv_bin(), "python", "find", "--no-project", "--no-python-downloads", version]
    result = subprocess.run(command, capture_output=True, text=True)
    return Path(result.stdout.strip()) if result.returncode == 0 else None
