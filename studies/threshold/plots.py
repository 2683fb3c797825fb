"""Plots of the threshold study."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from studies.reporting import plots
from studies.reporting.statistics import roc
from studies.threshold.regeneration import AtThreshold

COLOURS = {
    "good": "#1b7837",
    "partly": "#7fbf7b",
    "wrong": "#d6604d",
    "off_topic": "#878787",
    "gibberish": "#bababa",
    "empty": "#dddddd",
}


def distribution(kinds: Mapping[str, Sequence[float]], threshold: float) -> Figure:
    """Draws the distributions of several kinds of answers, each with an area of 1."""
    figure, axis = plots.panels()
    for (name, values), colour in zip(kinds.items(), ("#bababa", "#2166ac", "#1b7837"), strict=True):
        axis.hist(values, bins=np.arange(-0.4, 1.0001, 0.04), density=True, alpha=0.6, color=colour, label=name)
    axis.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axis.axvline(0, color="#888888", linewidth=0.8)
    axis.set(xlabel="bert_score (0: chance, 1: identity)", ylabel="density")
    axis.legend()
    return figure


def labels(scores: Mapping[str, Sequence[float]], threshold: float) -> Figure:
    """Draws the scores of the labelled answers, one point each."""
    figure, axis = plots.panels()
    plots.dots(axis, scores, threshold, COLOURS, size=14)
    axis.set(xlabel="bert_score; the bars are medians")
    axis.legend(loc="lower right")
    return figure


def separation(scores: Mapping[str, Sequence[float]]) -> Figure:
    """Draws the ROC curves of good answers against the other labels."""
    figure, axis = plots.panels()
    axis.set_aspect("equal")
    axis.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for label in ("off_topic", "partly", "wrong"):
        right, left = roc(scores["good"], scores[label])
        axis.plot(right, left, color=COLOURS[label], label=f"good against {label.replace('_', ' ')}")
    axis.set(xlabel="share of the others that pass", ylabel="share of good answers that pass")
    axis.legend(loc="lower right")
    return figure


def cost(rows: Sequence[AtThreshold], threshold: float) -> Figure:
    """Draws the share that passes, the calls and the kept score at each threshold."""
    figure, (left, right) = plots.panels(2)
    at = [row.threshold for row in rows]
    left.plot(at, [row.first for row in rows], color="#2166ac", label="first answers that pass")
    left.plot(at, [row.accepted for row in rows], color="#1b7837", label="questions accepted")
    left.plot(at, [row.calls / 3 for row in rows], color="#d6604d", label="calls, as a share of 3")
    right.plot([row.calls for row in rows], [row.kept for row in rows], color="#2166ac", marker=".")
    for row in rows:
        if abs(row.threshold - threshold) < 1e-9:
            right.annotate(f"threshold {threshold:.2f}", (row.calls, row.kept), (10, -15), textcoords="offset points")
    left.axvline(threshold, color="black", linestyle="--")
    left.set(xlabel="threshold", ylabel="share")
    right.set(xlabel="calls of the model for a question", ylabel="mean score that is kept")
    left.legend()
    return figure
