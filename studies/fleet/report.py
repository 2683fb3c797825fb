"""Writes docs/benchmarks.md from the results of the programs: `python -m studies.fleet.report`.

Each program stores one file of raw numbers; the document contains the newest of each.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from studies.reporting import plots
from studies.reporting.files import write
from studies.reporting.results import RESULTS, Comparison, Measurement, Run, medians, read
from studies.reporting.tables import short, table_of
from studies.reporting.templates import render

DOCUMENT = Path("docs/benchmarks.md")
PLOT = Path("images/benchmarks.png")
"""Path of the plot, relative to the document."""

PAGES = {"sync_vs_async": "sync-vs-async.md"}
"""Programs with a page of their own."""

PART = "per question"
"""Column of the footprint; other programs do not have it."""

SMALL = 0.05
"""Share of the largest part of a kind, below which parts of the footprint are not shown."""


def document(measurements: Sequence[Measurement]) -> str:
    """Returns the document."""
    comparisons = [each for measurement in measurements for each in measurement.comparisons]
    figures = [_row(each) for measurement in measurements for each in critical(measurement.comparisons)]
    return render(
        "fleet/templates/benchmarks.md.j2",
        figures=table_of(figures) if figures else "",
        met=sum(each.met for each in comparisons),
        goals=len(comparisons),
        plot=PLOT,
        measurements=measurements,
        pages=PAGES,
        part=PART,
        small=SMALL,
        shown=shown,
        table_of=table_of,
    )


def critical(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Returns the missed goals of a program, and the met one with the smallest margin."""
    closest = min((each for each in comparisons if each.met), key=lambda each: each.share, default=None)
    return [each for each in comparisons if not each.met or each is closest]


def shown(measurement: Measurement) -> list[Run]:
    """Returns the rows of a program's table."""
    runs = medians(measurement.runs)
    return largest(runs) if PART in runs[0] else runs


def largest(parts: Sequence[Run]) -> list[Run]:
    """Leaves out parts below `SMALL` of the largest part of their kind, which is the first word of their name."""

    def kind(part: Run) -> str:
        return str(part["what"]).split()[0]

    most: dict[str, float] = {}
    for part in parts:
        most[kind(part)] = max(most.get(kind(part), 0.0), float(part[PART]))
    return [part for part in parts if float(part[PART]) >= SMALL * most[kind(part)]]


def _row(each: Comparison) -> Run:
    return {
        "figure": each.figure,
        "fleet": f"{short(each.fleet)} {each.unit}",
        "against": "-" if each.against is None else f"{short(each.against)} {each.unit} ({each.baseline})",
        "ratio": "-" if each.against is None else f"{each.judged:.2f}",
        "goal": f"{each.sense} {each.goal:g}{'' if each.against is not None else ' ' + each.unit}",
        "met": "yes" if each.met else f"no, {each.share:.0%} of it",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the document and its plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"folder of raw numbers (default: {RESULTS})")
    parser.add_argument("--output", type=Path, default=DOCUMENT, help=f"document (default: {DOCUMENT})")
    options = parser.parse_args(arguments)
    measurements = read(options.results)
    if not measurements:
        raise SystemExit(f"{options.results}: nothing was measured")
    write(options.output, document(measurements).encode())
    print(f"wrote {options.output}")
    comparisons = [each for measurement in measurements for each in measurement.comparisons]
    if comparisons:
        picture = options.output.parent / PLOT
        write(picture, plots.png(plots.goals(comparisons)))
        print(f"wrote {picture}")


if __name__ == "__main__":
    main()
