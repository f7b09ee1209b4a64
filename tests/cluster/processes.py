"""Processes of a cluster. All that have their working directory below a place belong to it."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from services import environment

# Reads our end of the pipe, and ends what is left in the directory when the test run is gone.
WATCH = """
while read -r _; do :; done
for process in /proc/[0-9]*; do
    case "$(readlink "$process/cwd")" in "$0"/*) kill -KILL "${process#/proc/}" ;; esac
done
rm -rf "$0"
"""


_children: list[tuple[Path, "subprocess.Popen[bytes]"]] = []


def watch(directory: Path) -> "subprocess.Popen[bytes]":
    """Have nothing be left in a directory when the test run ends, whatever ends it."""
    return subprocess.Popen(
        ["sh", "-c", WATCH, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def spawn(command: list[str], directory: Path, user: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Start a program in its directory, with its output in a file `log` there."""
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={k: v for k, v in environment(LC_ALL="C", TZ="UTC").items() if k != "HOME"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **user,
        )
    _children.append((directory, process))
    return process


def processes_in(directory: Path) -> list[int]:
    """The processes that have their working directory in a place or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if directory in (place := Path(os.readlink(process / "cwd"))).parents or (
                place == directory
            ):
                found.append(int(process.name))
    return sorted(found)


def send(number: signal.Signals, directory: Path) -> None:
    """Send a signal to all processes of a place, those that were there first, first."""
    for process in processes_in(directory):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def kill(directory: Path) -> None:
    """Kill all processes of a place, also those that others start meanwhile."""
    while alive := [pid for pid in processes_in(directory) if not _is_dead(pid)]:
        for number in alive:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.01)
    for place, process in _children:
        if directory == place or directory in place.parents:
            process.wait()


def _is_dead(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
