"""How well a score tells two kinds of answers apart, with intervals. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ByQuestion = Mapping[str, Mapping[str, float]]
"""Scores by question and label; a question may lack a label."""

RESAMPLES = 2000
SEED = 1


class Interval(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def auc(higher: Sequence[float] | Floats, lower: Sequence[float] | Floats) -> float:
    """Returns the area under the ROC curve: the share of pairs in which `higher` has the higher score, ties half.

    Raises:
        ValueError: One of them is empty.
    """
    left, right = np.asarray(higher, dtype=float), np.asarray(lower, dtype=float)
    if not len(left) or not len(right):
        raise ValueError("an AUC needs scores of both kinds")
    difference = left[:, None] - right[None, :]
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def roc(higher: Sequence[float], lower: Sequence[float]) -> tuple[Floats, Floats]:
    """Returns the ROC curve: shares of `lower` and of `higher` at or above each threshold, from the highest down."""
    thresholds = np.unique(np.concatenate([[np.inf], higher, lower]))[::-1]
    right = np.array([np.mean(np.asarray(lower) >= each) for each in thresholds])
    left = np.array([np.mean(np.asarray(higher) >= each) for each in thresholds])
    return right, left


def bootstrap(
    questions: Sequence[str], figure: Callable[[Sequence[str]], float], resamples: int = RESAMPLES, seed: int = SEED
) -> Interval:
    """Returns a figure with its 95 % percentile interval over resampled questions.

    Questions are drawn, not answers: the answers to one question are scored against the same reference.

    Args:
        questions: Of the figure.
        figure: Computes it for a list of questions, in which one may occur several times.
        resamples: Draws.
        seed: Of the draws.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        drawn.append(figure([questions[index] for index in random.integers(0, len(questions), len(questions))]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(figure(questions), float(low), float(high))


def separation(scores: ByQuestion, higher: str, lower: str) -> Interval:
    """Returns the AUC of one label against another, over the questions that have both."""
    questions = [question for question, labels in scores.items() if higher in labels and lower in labels]
    return bootstrap(questions, lambda drawn: _auc_of(scores, drawn, higher, lower))


def gain(scores: ByQuestion, other: ByQuestion, higher: str, lower: str) -> Interval:
    """Returns by how much the AUC of `scores` is above that of `other`, on the same draws of questions."""
    questions = [question for question, labels in scores.items() if higher in labels and lower in labels]
    return bootstrap(
        questions,
        lambda drawn: _auc_of(scores, drawn, higher, lower) - _auc_of(other, drawn, higher, lower),
    )


def _auc_of(scores: ByQuestion, questions: Sequence[str], higher: str, lower: str) -> float:
    return auc([scores[each][higher] for each in questions], [scores[each][lower] for each in questions])
