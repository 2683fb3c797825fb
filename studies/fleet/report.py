"""Writes docs/benchmarks.md from the results of the programs: `python -m studies.fleet.report`.

Each program stores one file of raw numbers; the document contains the newest of each.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from studies.reporting import plots
from studies.reporting.files import write
from studies.reporting.results import RESULTS, Comparison, Measurement, Run, read
from studies.reporting.tables import short, table_of
from studies.reporting.templates import render

DOCUMENT = Path("docs/benchmarks.md")
PLOT = Path("images/benchmarks.png")
"""Path of the plot, relative to the document."""


def document(measurements: Sequence[Measurement]) -> str:
    """Returns the document."""
    figures = [_row(each) for measurement in measurements for each in measurement.comparisons]
    return render(
        "fleet/templates/benchmarks.md.j2",
        figures=table_of(figures) if figures else "",
        plot=PLOT,
        measurements=measurements,
        table_of=table_of,
    )


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
