"""Statistics of the studies, based on scipy. Pure functions."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

RESAMPLES = 2000
SEED = 1


class Interval(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


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
    return float(np.quantile(values, share, method="inverted_cdf"))


def auc(higher: Sequence[float] | Floats, lower: Sequence[float] | Floats) -> float:
    """Returns the area under the ROC curve: the share of pairs in which `higher` has the higher score, ties half.

    Raises:
        ValueError: One of them is empty.
    """
    if not len(higher) or not len(lower):
        raise ValueError("an AUC needs scores of both kinds")
    difference = np.subtract.outer(higher, lower)
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def roc(higher: Sequence[float], lower: Sequence[float]) -> tuple[Floats, Floats]:
    """Returns the ROC curve: shares of `lower` and of `higher` at or above each threshold, from the highest down."""
    thresholds = np.unique(np.concatenate([[np.inf], higher, lower]))[::-1]
    right = np.array([np.mean(np.asarray(lower) >= each) for each in thresholds])
    left = np.array([np.mean(np.asarray(higher) >= each) for each in thresholds])
    return right, left


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Returns the rank correlation of two series; NaN if one is constant."""
    if min(len(set(left)), len(set(right))) < 2:
        return math.nan
    return float(stats.spearmanr(left, right).statistic)


def bootstrap(units: Sequence[str], figure: Callable[[Sequence[str]], float]) -> Interval:
    """Returns a figure with its 95 % percentile interval over resampled units.

    Args:
        units: The units to resample, such as questions: answers to one question share a reference.
        figure: Computes the figure for a list of units, which may contain a unit several times.
    """

    value = figure(units)
    if len(units) < 2:
        return Interval(value, value, value)

    def of(places: NDArray[np.int64]) -> float:
        return figure([units[place] for place in places])

    drawn = stats.bootstrap(
        (np.arange(len(units)),),
        of,
        n_resamples=RESAMPLES,
        vectorized=False,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    low, high = drawn.confidence_interval
    return Interval(value, float(low), float(high))
