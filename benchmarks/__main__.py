"""Renders services, serves them beside their limits, and measures all of them in one run."""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load, processes, report
from benchmarks.load import Cell, Sample
from benchmarks.report import Results

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Plan:
    """Who is measured on one database, and by what."""

    title: str
    database: str
    contenders: tuple[str, ...]
    cells: tuple[Cell, ...]


CONNECTIONS = (1, 10, 32, 100, 256, 1000)
POSTGRESQL = Plan(
    "PostgreSQL",
    "postgresql+asyncpg",
    ("limit", "plain", "textbook", "rendered"),
    (
        # First, because it shows in memory.
        Cell(load.BULK_OF_10000, 1),
        Cell(load.NO_DATABASE, 32),
        *(Cell(load.READ_ONE, connections) for connections in CONNECTIONS),
        *(Cell(load.PAGE_OF_50, connections) for connections in CONNECTIONS),
        Cell(load.PAGE_OF_1000, 32),
        *(Cell(load.CREATE, connections) for connections in CONNECTIONS),
        Cell(load.BULK_OF_100, 32),
        Cell(load.TRANSFER, 32),
    ),
)
SQLITE = Plan(
    "SQLite",
    "sqlite+aiosqlite",
    ("textbook", "rendered"),
    (
        Cell(load.READ_ONE, 32),
        Cell(load.PAGE_OF_50, 32),
        Cell(load.CREATE, 1),
        Cell(load.CREATE, 64),
    ),
)
OBSERVABILITY = Plan(
    "Logs and metrics, on PostgreSQL",
    "postgresql+asyncpg",
    ("silent", "rendered", "metrics"),
    (Cell(load.NO_DATABASE, 32), Cell(load.READ_ONE, 32)),
)


def main() -> None:
    """Read the command line, measure, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two minutes: one load, fewer rounds")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (3)")
    parser.add_argument("--seconds", type=int, help="for each measurement (3)")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--database", default="", help="postgresql or sqlite; both")
    parser.add_argument("--output", type=Path, default=RESULTS, help=f"a folder ({RESULTS})")
    parser.add_argument(
        "--readme", action="store_true", help="write the README's table as well, and docs/benchmark"
    )
    options = parser.parse_args()
    load.find_wrk()
    processes.allow_many_connections()
    rounds = options.rounds or (2 if options.short else 3)
    seconds = options.seconds or (1 if options.short else 3)

    results: Results = {}
    for plan in (POSTGRESQL, SQLITE, OBSERVABILITY):
        if plan.database.startswith(options.database):
            cells = [cell for cell in plan.cells if options.only in cell.name]
            if options.short:
                cells = [
                    cell
                    for cell in cells
                    if cell.connections in (32, 64) or cell.endpoint.rows > 1000
                ]
            if cells:
                results[plan.title] = run(plan, cells, rounds, seconds)

    report.write(results, options.output)
    if options.readme:
        report.write_readme(results, processes.ROOT / "README.md")
        report.write(results, processes.ROOT / "docs/benchmark")
    print((options.output / "results.md").read_text())


def run(
    plan: Plan, cells: Sequence[Cell], rounds: int, seconds: int
) -> dict[str, dict[str, list[Sample]]]:
    """Measure all contenders, turn by turn; samples by cell and contender."""
    samples: dict[str, dict[str, list[Sample]]] = {
        cell.name: {name: [] for name in plan.contenders} for cell in cells
    }
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print(f"{plan.title}: rendering and installing the service", flush=True)
        project = processes.render(folder / "service", plan.database)
        projects = dict.fromkeys(plan.contenders, project)
        if "metrics" in projects:
            projects["metrics"] = processes.render(folder / "m", plan.database, metrics=True)
        if plan.database.startswith("postgresql"):
            database, urls = stack.enter_context(
                processes.postgresql(project, list(plan.contenders))
            )
        else:
            database = None
            urls = {
                name: processes.sqlite(project, name, folder / f"{name}.sqlite")
                for name in plan.contenders
            }
        for number in range(rounds):
            # New processes each time: their memory, hash seeds and luck differ.
            with ExitStack() as round_:
                servers = {
                    name: round_.enter_context(
                        processes.contender(projects[name], name, urls[name])
                    )
                    for name in plan.contenders
                }
                _check_that_answers_agree(servers)
                for server in servers.values():
                    for endpoint in {cell.endpoint.name: cell.endpoint for cell in cells}.values():
                        load.warm_up(server, endpoint, 20 if endpoint.rows < 10_000 else 0)
                idle = {name: server.memory() for name, server in servers.items()}
                for cell in cells:
                    # Each contender comes first as often as last.
                    names = plan.contenders if number % 2 == 0 else plan.contenders[::-1]
                    for name in names:
                        sample = load.measure(
                            servers[name], database, cell, seconds, folder, idle[name]
                        )
                        samples[cell.name][name].append(sample)
                    _print_progress(f"{number + 1}/{rounds} {cell.name}", samples[cell.name])
    print(f"{plan.title}: {time.monotonic() - began:.0f} s", flush=True)
    return samples


def _check_that_answers_agree(servers: dict[str, processes.Server]) -> None:
    # Whoever answers less would win.
    for path in ("/api/v1/items/7", "/api/v1/items?limit=3"):
        answers = {name: load.ask(server, "GET", path, None) for name, server in servers.items()}
        shapes = {json.dumps(_shape(answer)) for answer in answers.values()}
        assert len(shapes) == 1, answers


def _shape(answer: object) -> object:
    if isinstance(answer, dict):
        # A cursor may be a number or a text, and a time may be written with fewer digits.
        return {k: _shape(v) for k, v in answer.items() if k not in ("next", "created_at")}
    return [_shape(item) for item in answer] if isinstance(answer, list) else answer


def _print_progress(name: str, samples: dict[str, list[Sample]]) -> None:
    latest = "  ".join(f"{contender} {of[-1].cpu:,.0f} µs" for contender, of in samples.items())
    print(f"{name:32} {latest}", flush=True)


if __name__ == "__main__":
    main()
