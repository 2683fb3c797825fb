"""Statistics of all answers, from the counts that the database keeps. Pure functions.

The kinds of counts are described in the comment of the table `dashboard_counts` (sql/schema.sql).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, exp, floor, sqrt
from typing import Any

REFERENCE: frozenset[str] = frozenset({"accepted", "max_retries_reached"})
"""Qualities whose scores are against a reference. Scores of self-checks are on another scale."""
SCORE_BINS = 100
"""Score bins per unit: a bin is 0.01 wide."""
TIME_BINS = 50
"""A time bin starts at exp(bin / TIME_BINS) milliseconds: it is 2 % wide."""


@dataclass(frozen=True)
class Count:
    """One row of the counts; the meaning of its sums depends on its kind."""

    kind: str
    label: str
    attempts: int
    bin: int
    n: int
    sum_1: Decimal = Decimal(0)
    sum_2: Decimal = Decimal(0)


@dataclass(frozen=True)
class Total:
    """A sum of counts."""

    n: int = 0
    sum_1: Decimal = Decimal(0)
    sum_2: Decimal = Decimal(0)

    @property
    def mean(self) -> Decimal | None:
        """Mean of the values in `sum_1`; None if there are none."""
        return self.sum_1 / self.n if self.n else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample (n - 1), if `sum_2` is a sum of squares; None for fewer than two values."""
        if self.n < 2:
            return None
        return sqrt(max(Decimal(0), self.sum_2 - self.sum_1 * self.sum_1 / self.n) / (self.n - 1))


class Counts:
    """Counts, with filters."""

    def __init__(self, rows: Iterable[Count]) -> None:
        self._rows = list(rows)

    def rows(
        self,
        kind: str,
        labels: Collection[str] | None = None,
        attempts: Collection[int] | None = None,
        bins: Collection[int] | None = None,
    ) -> list[Count]:
        """Returns the counts of a kind; a condition of None does not filter."""
        return [
            row
            for row in self._rows
            if row.kind == kind
            and (labels is None or row.label in labels)
            and (attempts is None or row.attempts in attempts)
            and (bins is None or row.bin in bins)
        ]

    def total(
        self,
        kind: str,
        labels: Collection[str] | None = None,
        attempts: Collection[int] | None = None,
        bins: Collection[int] | None = None,
    ) -> Total:
        """Returns the sum of the counts of a kind; conditions as in `rows`."""
        return total(self.rows(kind, labels, attempts, bins))

    def bins(self, kind: str, labels: Collection[str] | None = None) -> Counter[int]:
        """Returns the count of each bin."""
        found: Counter[int] = Counter()
        for row in self.rows(kind, labels):
            found[row.bin] += row.n
        return found

    def attempts(self) -> list[int]:
        """Returns the numbers of attempts that answers took, in ascending order."""
        return sorted({row.attempts for row in self.rows("answers")})


def total(rows: Iterable[Count]) -> Total:
    """Returns the sum of counts."""
    chosen = list(rows)
    return Total(
        sum(row.n for row in chosen),
        sum((row.sum_1 for row in chosen), Decimal(0)),
        sum((row.sum_2 for row in chosen), Decimal(0)),
    )


def pairs(counts: Counts, attempts: Collection[int] | None = None) -> dict[str, Any]:
    """Compares the first and the kept answers of the same questions by their scores against references.

    Args:
        counts: Counts of the kinds `first` and `gain`.
        attempts: Only answers with one of these numbers of attempts.
    """
    first = counts.total("first", REFERENCE, attempts)
    gain = counts.total("gain", REFERENCE, attempts)
    kept = Total(first.n, first.sum_1 + gain.sum_1)
    return {
        "count": gain.n,
        "improved": counts.total("gain", REFERENCE, attempts, {1}).n,
        "mean_first_score": first.mean,
        "mean_kept_score": kept.mean,
        "mean_gain": gain.mean,
        "deviation": gain.deviation,
    }


def costs(counts: Counts) -> dict[str, Decimal | None]:
    """Returns the total cost, and the cost per accepted answer and per point of score; None if unknown.

    Includes the cost of failed calls; excludes questions without a known price. Points are of scores against a
    reference, so the cost per point excludes self-checked questions.
    """
    cost = counts.total("cost")
    whole = cost.sum_1 if cost.n else None
    judged = [row for row in counts.rows("priced") if not row.label.startswith("self_check")]
    self_checked = counts.total("priced").sum_1 - total(judged).sum_1
    points = total(judged).sum_2
    accepted = counts.total("priced", {"accepted"}).n
    return {
        "cost": whole,
        "cost_per_accepted": _rounded(whole / accepted) if whole is not None and accepted else None,
        # Calls and answers in a time window belong to slightly different questions: the result must not be negative.
        "cost_per_point": _rounded(max(Decimal(0), whole - self_checked) / points)
        if whole is not None and points
        else None,
    }


def _rounded(cost: Decimal) -> Decimal:
    return cost.quantize(Decimal("1e-9"))


def threshold_bins(scores: Mapping[int, int], threshold: Decimal, bins_per_unit: int) -> Counter[int] | None:
    """Combines counted scores into wider bins; bin 0 starts at the threshold.

    Returns:
        Answers by bin; None if the threshold lies inside a counted bin.
    """
    start = threshold * SCORE_BINS
    if start != int(start):
        return None
    found: Counter[int] = Counter()
    for each, count in scores.items():
        found[(each - int(start)) * bins_per_unit // SCORE_BINS] += count
    return found


def what_if_groups(counts: Counts, threshold: int, max_attempts: int) -> list[dict[str, Any]]:
    """Groups questions by what a threshold would do to their attempts.

    Args:
        counts: Counts of the kind `prefix`.
        threshold: Threshold as a bin.
        max_attempts: Limit of attempts of a question; further ones do not count.

    Returns:
        Groups for `queries.what_if`.
    """
    groups = []
    for attempt in range(1, max_attempts + 1):
        rows = counts.rows("prefix", attempts={attempt})
        reached = total(row for row in rows if row.bin >= threshold)
        # Questions that had already reached it at an earlier attempt.
        before = total(row for row in counts.rows("prefix", {"more"}, {attempt - 1}) if row.bin >= threshold)
        groups.append(_group(attempt, False, attempt, reached.n - before.n, reached.sum_1 - before.sum_2))
        if attempt < max_attempts:
            ended = total(row for row in rows if row.label == "ended" and row.bin < threshold)
            groups.append(_group(None, True, attempt, ended.n, ended.sum_1))
        else:
            below = total(row for row in rows if row.bin < threshold)
            groups.append(_group(None, False, attempt, below.n, below.sum_1))
    return [group for group in groups if group["questions"]]


def _group(passed_at: int | None, unknown: bool, made: int, questions: int, scores: Decimal) -> dict[str, Any]:
    return {"passed_at": passed_at, "unknown": unknown, "made": made, "questions": questions, "scores": scores}


@dataclass(frozen=True)
class BinPosition:
    """Position of a value among sorted values: its bin, and the number of values of the bin before it."""

    bin: int
    offset: int


def places(bins: Mapping[int, int], share: float) -> tuple[Sequence[BinPosition], float]:
    """Locates a percentile, interpolated between two values as `percentile_cont` does.

    Args:
        bins: Number of values in each bin; at least one value.
        share: 0 is the lowest, 0.5 the median, 1 the highest.

    Returns:
        The positions of the two values (of one, if the percentile is a value itself), and the weight of the second one.
    """
    position = share * (sum(bins.values()) - 1)
    return [_place(bins, rank) for rank in sorted({floor(position), ceil(position)})], position - floor(position)


def _place(bins: Mapping[int, int], rank: int) -> BinPosition:
    for each in sorted(bins):
        if rank < bins[each]:
            return BinPosition(each, rank)
        rank -= bins[each]
    raise ValueError("the rank is higher than the number of values")


def score_bounds(each: int) -> tuple[Decimal, Decimal]:
    """Returns the lowest score of a bin and that of the next one."""
    return Decimal(each) / SCORE_BINS, Decimal(each + 1) / SCORE_BINS


def time_bounds(each: int) -> tuple[int, int]:
    """Returns the lowest time of a bin and that of the next one, in milliseconds."""
    return (ceil(exp(each / TIME_BINS)) if each else 0), ceil(exp((each + 1) / TIME_BINS))
