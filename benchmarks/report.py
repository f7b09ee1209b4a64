"""Tables and a plot of what was measured."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import TypeVar

from benchmarks.load import Sample

T = TypeVar("T")
# Samples by title of the plan, cell and contender; one for each round.
Results = dict[str, dict[str, dict[str, list[Sample]]]]
TITLES = {
    "limit": "limit",
    "plain": "FastAPI + asyncpg",
    "textbook": "textbook",
    "rendered": "rendered service",
    "silent": "without log lines",
    "metrics": "with metrics",
}


def write(results: Results, folder: Path) -> None:
    """Write the samples as JSON, the tables as Markdown and the plot as SVG."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {
        title: {
            cell: {name: [asdict(sample) for sample in of] for name, of in contenders.items()}
            for cell, contenders in cells.items()
        }
        for title, cells in results.items()
    }
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(
        f"## {title}\n\n{ratios(cells)}\n\n{costs(cells)}\n\n{latencies(cells)}"
        for title, cells in results.items()
    )
    plotted = "![CPU time of each request, that of the textbook being 1](results.svg)"
    (folder / "results.md").write_text(f"# Results\n\n{plotted}\n\n{text}\n", encoding="utf-8")
    if compared := _with_textbook(results):
        plot(compared, folder / "results.svg")


def write_readme(results: Results, readme: Path) -> None:
    """Replace what is between the markers of the README, by each request at one load."""
    tables = "\n\n".join(
        f"{title}:\n\n{ratios(_at_one_load(cells))}"
        for title, cells in _with_textbook(results).items()
    )
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- benchmark -->\n", "<!-- /benchmark -->"
    pattern = re.escape(begin) + ".*" + re.escape(end)
    replaced, count = re.subn(pattern, lambda _: f"{begin}{tables}\n{end}", text, flags=re.DOTALL)
    assert count == 1, "the README has no markers"
    readme.write_text(replaced, encoding="utf-8")


def _with_textbook(results: Results) -> Results:
    return {title: of for title, of in results.items() if "textbook" in next(iter(of.values()))}


def _at_one_load(cells: dict[str, T]) -> dict[str, T]:
    """Under 32 connections; what was not measured under so many, under the most."""
    found: dict[str, str] = {}
    for cell in sorted(cells, key=lambda cell: (cell.endswith("@ 32"), _connections(cell))):
        found[cell.partition(" @ ")[0]] = cell
    return {cell: of for cell, of in cells.items() if cell in found.values()}


def _connections(cell: str) -> int:
    return int(cell.rpartition(" ")[2].replace(",", ""))


def ratios(cells: dict[str, dict[str, list[Sample]]]) -> str:
    """CPU time of the rendered service a request, and what part of the others' that is."""
    others = [name for name in next(iter(cells.values())) if name != "rendered"]
    rows = []
    for cell, contenders in cells.items():
        row = [cell, f"{median(s.cpu for s in contenders['rendered']):,.0f} µs"]
        for other in others:
            # Of the same round, whose moods both had.
            pairs = zip(contenders["rendered"], contenders[other], strict=True)
            row.append(_spread([ours.cpu / theirs.cpu for ours, theirs in pairs], ".2f"))
        rows.append(row)
    heads = ["request @ connections", "CPU of the service", *(f"/ {TITLES[o]}" for o in others)]
    return _table(heads, rows)


def costs(cells: dict[str, dict[str, list[Sample]]]) -> str:
    """CPU time a request of the contender, and of PostgreSQL behind it, in microseconds."""
    rows = [
        [cell]
        + [
            f"{_spread([s.cpu for s in of], ',.0f')} + {median(s.database_cpu for s in of):,.0f}"
            for of in contenders.values()
        ]
        for cell, contenders in cells.items()
    ]
    names = next(iter(cells.values()))
    return _table(["CPU µs, server + database", *(TITLES[name] for name in names)], rows)


def latencies(cells: dict[str, dict[str, list[Sample]]]) -> str:
    """Answers a second, p50 and p99 in milliseconds, memory above idle in MB, and failures."""
    rows = [
        [
            cell,
            TITLES[name],
            f"{_of(of, lambda s: s.rate):,.0f}",
            f"{_of(of, lambda s: s.p50):,.1f}",
            f"{_of(of, lambda s: s.p99):,.1f}",
            f"{_of(of, lambda s: s.p99 / max(s.p50, 0.001)):,.1f}",
            f"{_of(of, lambda s: s.idle_memory):,.0f}",
            f"{_of(of, lambda s: s.memory - s.idle_memory):+,.0f}",
            f"{sum(s.failed for s in of):,}",
        ]
        for cell, contenders in cells.items()
        for name, of in contenders.items()
    ]
    heads = ["request @ connections", "", "2xx/s", "p50 ms", "p99 ms", "p99/p50"]
    return _table([*heads, "idle MB", "peak", "failed"], rows)


def plot(results: Results, file: Path) -> None:
    """Draw the CPU time a request of every contender, on the scale of the textbook."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5 * len(results)), layout="constrained")
    axes = figure.subplots(len(results), squeeze=False)[:, 0]
    for axis, (title, cells) in zip(axes, results.items(), strict=True):
        names = list(next(iter(cells.values())))
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            heights = [
                [
                    ours.cpu / theirs.cpu
                    for ours, theirs in zip(of[name], of["textbook"], strict=True)
                ]
                for of in cells.values()
            ]
            middles = [median(of) for of in heights]
            axis.bar(
                [
                    position + (number - (len(names) - 1) / 2) * width
                    for position in range(len(cells))
                ],
                middles,
                width,
                yerr=(
                    [m - min(of) for m, of in zip(middles, heights, strict=True)],
                    [max(of) - m for m, of in zip(middles, heights, strict=True)],
                ),
                label=TITLES[name],
            )
        axis.set_title(title)
        axis.set_ylabel("CPU a request, textbook = 1")
        axis.set_xticks(range(len(cells)), list(cells), rotation=30, ha="right")
        axis.legend()
    figure.savefig(file, metadata={"Date": None})


def _of(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return median(figure(sample) for sample in samples)


def _spread(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
