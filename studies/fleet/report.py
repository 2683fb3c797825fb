"""Writes docs/benchmarks.md from what the programs measured: `python -m studies.fleet.report`.

Each program leaves one file of raw numbers; the newest of each makes the document. Pure but for `main` and `keep`.
"""

import argparse
import math
import os
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from studies.reporting.pictures import png

RESULTS = Path("docs/benchmarks")
DOCUMENT = Path("docs/benchmarks.md")
PLOT = Path("images/benchmarks.png")
"""Beside the document."""

LONGEST_BAR = 4.0
"""In the plot: what exceeds its goal by more is cut there, its number tells."""


class Comparison(BaseModel):
    """One figure with its goal.

    Attributes:
        figure: What was measured.
        unit: Of both values.
        fleet: The fleet's value.
        against: The value that it is compared with; None: the goal is one for the value itself.
        baseline: What it is compared with.
        goal: Of fleet / against, or of the fleet's value where there is nothing to compare with.
        sense: Which side of the goal is good.
    """

    model_config = ConfigDict(frozen=True)

    figure: str
    unit: str
    fleet: float
    against: float | None
    baseline: str
    goal: float
    sense: Literal["at least", "at most"] = "at least"

    @property
    def judged(self) -> float:
        """The number that the goal is for: the ratio, or the value itself."""
        if self.against is None:
            return self.fleet
        return self.fleet / self.against if self.against else math.inf

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.judged >= self.goal if self.sense == "at least" else self.judged <= self.goal

    @property
    def share(self) -> float:
        """How far the goal is reached: 1 is just met, more is better."""
        if self.sense == "at least":
            return self.judged / self.goal
        return self.goal / self.judged if self.judged else math.inf

    def line(self) -> str:
        """Returns it as one line for a terminal."""
        compared = f" / {self.against:.4g} of {self.baseline} = {self.judged:.2f} x" if self.against is not None else ""
        verdict = "met" if self.met else f"missed, {self.share:.0%} of it"
        return f"{self.figure}: {self.fleet:.4g} {self.unit}{compared} (goal: {self.sense} {self.goal:g}: {verdict})"


class Machine(BaseModel):
    """Where it was measured.

    Attributes:
        processor: Its model.
        cores: Of the machine.
        memory_bytes: Of the machine.
        load: Load average of the last minute before the measurement began: what else the machine was doing.
    """

    model_config = ConfigDict(frozen=True)

    processor: str
    cores: int
    memory_bytes: int
    load: float

    def line(self) -> str:
        """Returns it as one phrase."""
        memory = self.memory_bytes / 2**30
        return f"{self.processor}, {self.cores} cores, {memory:.1f} GiB, load {self.load:.2f} before the start"


Run = dict[str, str | int | float]
"""The raw numbers of one run, by column."""


class Measurement(BaseModel):
    """What one program measured.

    Attributes:
        program: Its name.
        question: What it answers.
        method: How, in Markdown.
        at: When it ended.
        machine: Where.
        comparisons: The figures with goals.
        runs: The raw numbers, in the order in which they were taken.
    """

    model_config = ConfigDict(frozen=True)

    program: str
    question: str
    method: str
    at: datetime
    machine: Machine
    comparisons: tuple[Comparison, ...]
    runs: tuple[Run, ...]


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that at least this share of the values does not exceed (nearest rank).

    Args:
        values: At least one, in any order.
        share: Above 0, up to 1.

    Raises:
        ValueError: There are no values, or the share is out of range.
    """
    if not values or not 0 < share <= 1:
        raise ValueError(f"no percentile {share} of {len(values)} values")
    return sorted(values)[math.ceil(share * len(values)) - 1]


def median(runs: Sequence[Run], column: str) -> float:
    """Returns the median of a column; of several rounds it is the one that neighbours on the machine disturb least."""
    return statistics.median(float(run[column]) for run in runs)


def table(rows: Sequence[Run]) -> list[str]:
    """Returns rows as a Markdown table; a column that a row lacks is empty there."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(name, "")) for name in columns) + " |" for row in rows]
    return lines


def _cell(value: str | int | float) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(measurements: Sequence[Measurement]) -> str:
    """Returns the document."""
    figures: list[Run] = [
        {
            "figure": each.figure,
            "fleet": f"{_cell(each.fleet)} {each.unit}",
            "against": "-" if each.against is None else f"{_cell(each.against)} {each.unit} ({each.baseline})",
            "ratio": "-" if each.against is None else f"{each.judged:.2f}",
            "goal": f"{each.sense} {each.goal:g}{'' if each.against is not None else ' ' + each.unit}",
            "met": "yes" if each.met else f"no, {each.share:.0%} of it",
        }
        for measurement in measurements
        for each in measurement.comparisons
    ]
    lines = [
        "# Benchmarks",
        "",
        "The fleet beside what people would use instead. Every ratio was taken in one run on one machine; the",
        "[programs](../studies/fleet/README.md) run anywhere with `make study S=fleet`, which writes this page.",
        "",
    ]
    if figures:
        lines += [*table(figures), "", f"![How far each goal is reached]({PLOT})", ""]
    for each in measurements:
        lines += [
            f"## {each.program}",
            "",
            each.question,
            "",
            each.method,
            "",
            f"Measured {each.at:%Y-%m-%d %H:%M} UTC on: {each.machine.line()}.",
            "",
            *table(each.runs),
            "",
        ]
    return "\n".join(lines)


def read(folder: Path) -> list[Measurement]:
    """Reads the newest measurement of each program, by name."""
    return [Measurement.model_validate_json(each.read_text()) for each in sorted(folder.glob("*.json"))]


def keep(measurement: Measurement, folder: Path) -> None:
    """Prints a measurement and leaves its raw numbers for the document."""
    for line in table(measurement.runs):
        print(line)
    for comparison in measurement.comparisons:
        print(comparison.line())
    write(folder / f"{measurement.program}.json", (measurement.model_dump_json(indent=1) + "\n").encode())


def machine() -> Machine:
    """Describes the machine; call it before the load begins."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    total = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    cores = os.cpu_count() or 1
    return Machine(
        processor=names[0] if names else os.uname().machine,
        cores=cores,
        memory_bytes=total * 1024,
        load=os.getloadavg()[0],
    )


def now() -> datetime:
    """Returns the time to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _make(folder: Path) -> None:
    """Makes a folder that belongs to whom the one around it belongs."""
    if not folder.exists():
        folder.mkdir()
        _own(folder)


def write(path: Path, body: bytes) -> None:
    """Writes a file that belongs to whom its folder belongs: the container that writes it runs as root."""
    _make(path.parent)
    path.write_bytes(body)
    _own(path)


def _own(path: Path) -> None:
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def plot(comparisons: Sequence[Comparison]) -> bytes:
    """Draws how far each goal is reached, as PNG, with plotly in the tests' Chromium."""
    import plotly.graph_objects as go

    ordered = list(reversed(comparisons))  # plotly draws upwards
    longest = min(max(1.2, *(each.share for each in comparisons)), LONGEST_BAR)
    figure = go.Figure(
        go.Bar(
            x=[min(each.share, longest) for each in ordered],
            y=[each.figure for each in ordered],
            orientation="h",
            text=[f"{each.share:.2f}" for each in ordered],
            marker_color=["#2a7f62" if each.met else "#c0504d" for each in ordered],
        )
    )
    figure.add_vline(x=1, line_dash="dash", annotation_text="goal", annotation_position="top")
    figure.update_layout(
        template="plotly_white",
        width=1100,
        height=140 + 44 * len(ordered),
        margin={"l": 20, "r": 40, "t": 30, "b": 50},
        xaxis={"title": "share of the goal that is reached (1: just met)", "range": [0, longest * 1.05]},
        yaxis={"automargin": True},
    )
    return png(figure)


def main() -> None:
    """Writes the document and its plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"folder of raw numbers (default: {RESULTS})")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help=f"document (default: {DOCUMENT})")
    options = parser.parse_args()
    measurements = read(options.results)
    if not measurements:
        raise SystemExit(f"{options.results}: nothing was measured")
    write(options.output, markdown(measurements).encode())
    print(f"wrote {options.output}")
    comparisons = [each for measurement in measurements for each in measurement.comparisons]
    if comparisons:
        picture = options.output.parent / PLOT
        write(picture, plot(comparisons))
        print(f"wrote {picture}")


if __name__ == "__main__":
    main()
