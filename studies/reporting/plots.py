"""Plots of the studies, with matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from studies.reporting.results import Comparison

GOOD, BAD, BLUE, GREY = "#2a7f62", "#c0504d", "#2a6f97", "#7f7f7f"
LONGEST_BAR = 4.0
"""Longer bars are cut; their number shows the value."""


def panels(columns: int = 1, size: tuple[float, float] | None = None, *, share_y: bool = False) -> tuple[Figure, Any]:
    """Returns a figure and its axes: one, or an array for several columns.

    Args:
        columns: Number of panels side by side.
        size: Width and height in inches.
        share_y: Whether they share the y axis.
    """
    figure = Figure(figsize=size or (8 if columns == 1 else 11, 4), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=share_y)


def legend_above(figure: Figure, axis: Any) -> None:
    """Adds a legend above the panels, from one panel, because all have the same lines or bars."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def png(figure: Figure) -> bytes:
    """Returns a figure as PNG, without the program's version, so that the same figure gives the same file."""
    body = io.BytesIO()
    figure.savefig(body, dpi=110, format="png", metadata={"Software": None})
    return body.getvalue()


def dots(
    axis: Any,
    rows: Mapping[str, Sequence[float]],
    threshold: float,
    colours: Mapping[str, str],
    size: float,
    alpha: float | None = None,
) -> None:
    """Draws a row of dots for each kind of answer, with its median, and the threshold across all of them."""
    random = np.random.default_rng(1)
    for place, (label, values) in enumerate(rows.items()):
        colour = colours.get(label, "#2166ac")
        heights = place + random.uniform(-0.25, 0.25, len(values))
        axis.scatter(values, heights, s=size, color=colour, edgecolors="none", alpha=alpha)
        axis.plot([np.median(values)] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.5)
    axis.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axis.set_yticks(range(len(rows)), [label.replace("_", " ") for label in rows])
    axis.invert_yaxis()


def goals(comparisons: Sequence[Comparison]) -> Figure:
    """Draws the share of each goal that is reached."""
    figure, axis = panels(size=(10, 1 + 0.36 * len(comparisons)))
    longest = min(max(1.2, *(each.share for each in comparisons)), LONGEST_BAR)
    shares = [min(each.share, longest) for each in comparisons]
    bars = axis.barh(range(len(shares)), shares, color=[GOOD if each.met else BAD for each in comparisons])
    axis.bar_label(bars, [f"{each.share:.2f}" for each in comparisons], padding=3)
    axis.axvline(1, color="black", linestyle="--", linewidth=1)
    axis.set_yticks(range(len(shares)), [each.figure for each in comparisons])
    axis.set(
        xlabel="share of the goal that is reached (1: just met)",
        xlim=(0, longest * 1.1),
        ylim=(len(shares) - 0.5, -0.5),  # the first on top
    )
    return figure
