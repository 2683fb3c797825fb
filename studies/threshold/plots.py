"""The study's pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies.threshold.regeneration import AtThreshold
from studies.threshold.separation import roc

COLOURS = {
    "good": "#1b7837",
    "partly": "#7fbf7b",
    "wrong": "#d6604d",
    "off_topic": "#878787",
    "gibberish": "#bababa",
    "empty": "#dddddd",
}


def _figure(columns: int = 1) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(1, columns, figsize=(8 if columns == 1 else 11, 4), layout="constrained")


def _dots(
    axis: Any, rows: Mapping[str, Sequence[float]], threshold: float, size: float, alpha: float | None = None
) -> None:
    """Draws a row of dots for each kind of answer, with its median, and the threshold across all of them."""
    random = np.random.default_rng(1)
    for place, (label, values) in enumerate(rows.items()):
        colour = COLOURS.get(label, "#2166ac")
        heights = place + random.uniform(-0.25, 0.25, len(values))
        axis.scatter(values, heights, s=size, color=colour, edgecolors="none", alpha=alpha)
        axis.plot([np.median(values)] * 2, [place - 0.35, place + 0.35], color="black", linewidth=1.5)
    axis.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axis.set_yticks(range(len(rows)), [label.replace("_", " ") for label in rows])
    axis.invert_yaxis()


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    # Without the program's version in it, the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def distribution(path: Path, kinds: Mapping[str, Sequence[float]], threshold: float) -> None:
    """Draws the distributions of several kinds of answers, each with an area of 1."""
    figure, axis = _figure()
    for (name, values), colour in zip(kinds.items(), ("#bababa", "#2166ac", "#1b7837"), strict=True):
        axis.hist(values, bins=np.arange(-0.4, 1.0001, 0.04), density=True, alpha=0.6, color=colour, label=name)
    axis.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2f}")
    axis.axvline(0, color="#888888", linewidth=0.8)
    axis.set(xlabel="bert_score (0: chance, 1: identity)", ylabel="density")
    axis.legend()
    _save(figure, path)


def labels(path: Path, scores: Mapping[str, Sequence[float]], threshold: float) -> None:
    """Draws the scores of the labelled answers, one point each."""
    figure, axis = _figure()
    _dots(axis, scores, threshold, size=14)
    axis.set(xlabel="bert_score; the bars are medians")
    axis.legend(loc="lower right")
    _save(figure, path)


def separation(path: Path, scores: Mapping[str, Sequence[float]]) -> None:
    """Draws the ROC curves of good answers against the other labels."""
    figure, axis = _figure()
    axis.set_aspect("equal")
    axis.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    for label in ("off_topic", "partly", "wrong"):
        right, left = roc(scores["good"], scores[label])
        axis.plot(right, left, color=COLOURS[label], label=f"good against {label.replace('_', ' ')}")
    axis.set(xlabel="share of the others that pass", ylabel="share of good answers that pass")
    axis.legend(loc="lower right")
    _save(figure, path)


def cost(path: Path, rows: Sequence[AtThreshold], threshold: float) -> None:
    """Draws what passes, and calls and kept score, at each threshold."""
    figure, (left, right) = _figure(2)
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
    _save(figure, path)


def agreement(
    path: Path,
    kinds: Mapping[str, Sequence[float]],
    chance: Sequence[float],
    own: Sequence[float],
    reference: Sequence[float],
    threshold: float,
) -> None:
    """Draws the agreement of each kind of answer with the model's samples, and that of its own beside the reference.

    Args:
        path: Of the picture.
        kinds: Agreement of the labelled answers, by label.
        chance: Agreement with samples of other questions.
        own: Agreement of the model's first answers.
        reference: Scores of those first answers against their references, in the same order.
        threshold: For agreement.
    """
    figure, (left, right) = _figure(2)
    _dots(left, {"other questions": chance, "first answers": own} | dict(kinds), threshold, size=10, alpha=0.6)
    left.set(xlabel="agreement with the model's samples; the bars are medians")
    left.legend(loc="lower right")
    right.scatter(own, reference, s=14, color="#2166ac", edgecolors="none")
    right.set(xlabel="agreement of the first answer", ylabel="its bert_score against the reference")
    _save(figure, path)
