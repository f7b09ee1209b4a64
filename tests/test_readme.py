"""The two commands of the README do what it says, word for word."""

import re
import signal
import socket
import subprocess
import time
from os import killpg
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from projects import snapshot
from questionnaire import ROOT
from services import environment

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


def test_ci_runs_the_test_command() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert command("test") in lines


def command(marker: str) -> str:
    """The command in the block after a marker in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"<!-- {marker} -->\n```sh\n(.+?)\n```", readme, re.DOTALL)
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


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
