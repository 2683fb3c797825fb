"""Predicts the number of different questions and the hit rate of a run from its distribution. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for a number of questions.

    The hit rate is that of a cache that is empty at first, never evicts and has answers immediately: each question
    misses once and hits from then on.

    Attributes:
        asked: Number of questions.
        distinct: Expected number of different questions.
        distinct_deviation: Upper bound of the standard deviation of that number.
    """

    asked: int
    distinct: float
    distinct_deviation: float

    @property
    def hit_rate(self) -> float | None:
        """Expected share of questions that were asked before, from 0 to 1; None without questions."""
        return 1 - self.distinct / self.asked if self.asked else None

    @property
    def hit_rate_deviation(self) -> float | None:
        """Upper bound of the standard deviation of that share; None without questions."""
        return self.distinct_deviation / self.asked if self.asked else None


def drawn(weights: Sequence[float], asked: int) -> Prediction:
    """Predicts independent draws, in which question i has the probability p(i), its share of the weights.

    Question i is missing from n draws with probability q(i) = (1 - p(i))^n, so by linearity of expectation
    E[D] = sum of 1 - q(i): the coupon collector with unequal probabilities (Flajolet, Gardy, Thimonier: Birthday
    paradox, coupon collectors, caching algorithms and self-organizing search, Discrete Applied Mathematics 39, 1992).
    The occurrences of questions are negatively associated (Joag-Dev, Proschan: Negative Association of Random
    Variables, Annals of Statistics 11, 1983), so Var[D] is at most the sum of q(i) (1 - q(i)).

    Args:
        weights: Above 0, one for each question, in any unit.
        asked: Number of draws, from 0.
    """
    total = math.fsum(weights)
    # log1p keeps the digits that 1 - p loses for rare questions; log(0) is undefined.
    absent = [
        math.exp(asked * math.log1p(-weight / total)) if weight < total else float(asked == 0) for weight in weights
    ]
    return Prediction(
        asked=asked,
        distinct=math.fsum(1 - each for each in absent),
        distinct_deviation=math.sqrt(math.fsum(each * (1 - each) for each in absent)),
    )


def each_once(size: int, asked: int) -> Prediction:
    """Predicts questions of which none is repeated before all `size` were asked; this is deterministic."""
    return Prediction(asked=asked, distinct=float(min(size, asked)), distinct_deviation=0.0)
