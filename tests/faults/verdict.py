"""What a scenario found: which bars were kept, in one line with its figures."""

from collections.abc import Mapping
from typing import Any

import pytest

PROPERTY = "verdict"


def tally(counts: Mapping[Any, int]) -> str:
    """What was counted, in words."""
    return ", ".join(f"{count}x {what}" for what, count in sorted(counts.items(), key=str))


class Verdict:
    """Collects the broken bars and the figures of one scenario."""

    def __init__(self, scenario: str) -> None:
        self.scenario = scenario
        self.broken: list[str] = []
        self.figures: list[str] = []

    def expect(self, kept: object, bar: str) -> None:
        """Note that a bar was broken, unless it was kept; the scenario goes on."""
        if not kept:
            self.broken.append(bar)

    def note(self, figure: str) -> None:
        """Add a figure to the line."""
        self.figures.append(figure)

    @property
    def line(self) -> str:
        """The verdict."""
        kept = "FAIL" if self.broken else "pass"
        figures = ", ".join(self.figures)
        broken = "".join(f"\n         - {bar}" for bar in self.broken)
        return f"{kept}  {self.scenario}: {figures}{broken}"


class Verdicts:
    """Shows all verdicts at the end of a run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect what the test processes found."""
        for name, value in report.user_properties:
            if report.when == "call" and name == PROPERTY:
                self._lines.append(str(value))

    def pytest_terminal_summary(self) -> None:
        """One line for each scenario."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is None or not self._lines:
            return
        failed = sum(line.startswith("FAIL") for line in self._lines)
        terminal.section(f"faults: {len(self._lines)} scenarios, {failed} failed")
        for line in sorted(self._lines, key=lambda line: line.partition("  ")[2]):
            terminal.write_line(line)
