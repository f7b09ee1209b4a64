"""What a run shows: a line of progress, failures at once, and at the end what took how long."""

import os
import resource
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import interpreters
import pytest

# Between two lines of progress, in seconds; a terminal shows them all in one line.
INTERVAL = 20
# What is shown of the output of a test that failed: its end, in characters.
CAPTURED = 3000


def part_of(nodeid: str) -> str:
    """The part of the tests that one belongs to: its folder below tests/, else its file."""
    file = nodeid.partition("::")[0]
    folder, _, name = file.removeprefix("tests/").rpartition("/")
    return folder or name.removeprefix("test_").removesuffix(".py")


def cpu_seconds() -> float:
    """What this process has used until now, with all processes that it has waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class CpuTime:
    """Adds to each report what its step used; in every process that runs tests."""

    def __init__(self) -> None:
        self._before = 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        report = yield
        now = cpu_seconds()
        report.cpu = now - self._before
        self._before = now
        return report

    def pytest_runtest_logstart(self) -> None:
        # Before the first test, it is what collecting them took: that is no test's.
        self._before = self._before or cpu_seconds()


@dataclass
class Part:
    """What the tests of one part came to."""

    tests: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    seconds: float = 0
    cpu: float = 0


class Progress:
    """Shows where a run is."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._parts: dict[str, Part] = defaultdict(Part)
        self._began = self._shown = time.monotonic()
        self._number = 0

    def pytest_report_header(self) -> str:
        return f"{interpreters.report()}; UPDATES_SEED={os.environ['UPDATES_SEED']}"

    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._number = len(ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._number = len(session.items) or self._number

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        # A line of progress stands for these.
        if report.passed and self._config.option.verbose < 1:
            return ("passed" if report.when == "call" else "", "", "")
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        part = self._parts[part_of(report.nodeid)]
        part.tests.add(report.nodeid)
        part.seconds += report.duration
        part.cpu += getattr(report, "cpu", 0)
        if report.failed:
            part.failed.add(report.nodeid)
            self._write(f"\n{report.nodeid}: {report.when} failed\n{report.longreprtext}")
            for title, text in report.sections:
                self._write(f"{title}:\n{text[-CAPTURED:]}")
        if report.when == "teardown":
            self._show(report.nodeid)

    def _show(self, nodeid: str) -> None:
        now = time.monotonic()
        terminal = self._terminal
        if terminal is None or self._config.option.verbose < 0:
            return
        if not terminal.isatty and now - self._shown < INTERVAL:
            return
        self._shown = now
        tests = sum(len(part.tests) for part in self._parts.values())
        failed = sum(len(part.failed) for part in self._parts.values())
        minutes, seconds = divmod(int(now - self._began), 60)
        line = f"{minutes:3d}:{seconds:02d}  {tests} of {self._number} tests, {failed} failed; "
        line += nodeid.removeprefix("tests/")
        if terminal.isatty:
            terminal.rewrite(line[: terminal._tw.fullwidth - 1], erase=True)
        else:
            terminal.write_line(line)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        # All failures have been shown.
        self._config.option.tbstyle = "no"

    def pytest_terminal_summary(self) -> None:
        self._write(interpreters.report())
        if len(self._parts) < 2:
            return
        self._write(f"{'part':<22}{'tests':>7}{'failed':>8}{'seconds':>9}{'CPU':>7}")
        rows = sorted(self._parts.items(), key=lambda row: -row[1].cpu)
        for name, part in [*rows, ("all", self._sum())]:
            counts = f"{len(part.tests):7d}{len(part.failed):8d}"
            self._write(f"{name:<22}{counts}{part.seconds:9.0f}{part.cpu:7.0f}")

    def _sum(self) -> Part:
        parts = self._parts.values()
        return Part(
            set().union(*(part.tests for part in parts)),
            set().union(*(part.failed for part in parts)),
            sum(part.seconds for part in parts),
            sum(part.cpu for part in parts),
        )

    @property
    def _terminal(self) -> Any:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _write(self, line: str) -> None:
        if self._terminal is not None:
            self._terminal.ensure_newline()
            self._terminal.write_line(line)
