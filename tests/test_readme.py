"""The two commands of the README do what it says, word for word; what it shows is so."""

import re
import signal
import subprocess
import time
from os import killpg
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pictures
from conftest import Render
from projects import snapshot
from questionnaire import ROOT
from services import environment, free_port

START_SECONDS = 300  # It installs everything first.


def test_scaffold_command_ends_in_a_service_that_answers(tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-ec", command("run")],
            cwd=snapshot(tmp_path / "clone"),
            env=environment(PORT=str(port)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        assert answers(f"http://127.0.0.1:{port}/health/ready", process), (
            tmp_path / "log"
        ).read_text()
    finally:
        killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    assert (tmp_path / "my-service" / ".copier-answers.yml").exists()


def test_questionnaire_looks_as_the_readme_shows_it(template: Path, tmp_path: Path) -> None:
    shown = pictures.questionnaire(template, tmp_path / "my-service")
    assert block("questionnaire", "text") == shown, "uv run --with pillow tests/pictures.py"


def test_what_comes_out_is_what_the_readme_shows(render: Render) -> None:
    project = render({})
    parent = project
    for line in block("tree", "").splitlines():
        # A name or several; what follows two spaces is said about them.
        names = line.strip().partition("  ")[0].split()
        if not line.startswith(" "):
            parent = project
        for name in names:
            assert (parent / name).exists(), line
        if not line.startswith(" "):
            parent = project / names[0]


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r'(?:\]\(|src=")(?!http)([^)#"]+)', text):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_ci_runs_the_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert f'{command("test")} "$@"' in lines


def command(marker: str) -> str:
    """The command in the block after a marker in the README."""
    return block(marker, "sh")


def block(marker: str, language: str) -> str:
    """The block of code after a marker in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {marker} -->\n```{language}\n(.+?)\n```", readme, re.DOTALL)
    assert block, f"README.md has no block after <!-- {marker} -->"
    return block[1]


def answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the URL answers 200 in time, and before the process ends."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            time.sleep(0.2)
    return False
