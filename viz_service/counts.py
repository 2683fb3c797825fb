"""What the dashboard shows of all answers, from the counts that the database keeps. Pure.

The kinds of counts are described in the table `dashboard_counts` (sql/migrations/0004_dashboard_counters.sql).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, exp, floor, sqrt
from typing import Any

REFERENCE: frozenset[str] = frozenset({"accepted", "max_retries_reached"})
"""Qualities whose scores are against a reference, on one scale; a self-check's is another."""
SCORE_BINS = 100
"""Bins of scores in a unit: a bin is 0.01 wide."""
TIME_BINS = 50
"""A bin of times starts at exp(bin / TIME_BINS) milliseconds: it is 2 % wide."""


@dataclass(frozen=True)
class Count:
    """One row of the counts; what its sums are of depends on its kind."""

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
        """Of what `sum_1` is of; None of nothing."""
        return self.sum_1 / self.n if self.n else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample (n - 1), where `sum_2` is of squares; None for fewer than two values."""
        if self.n < 2:
            return None
        return sqrt(max(Decimal(0), self.sum_2 - self.sum_1 * self.sum_1 / self.n) / (self.n - 1))


class Counts:
    """Counts to choose from."""

    def __init__(self, rows: Iterable[Count]) -> None:
        self._rows = list(rows)

    def rows(
        self,
        kind: str,
        labels: Collection[str] | None = None,
        attempts: Collection[int] | None = None,
        bins: Collection[int] | None = None,
    ) -> list[Count]:
        """Returns the counts of a kind; None as a condition filters nothing."""
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
        """Adds the counts of a kind up; conditions as for `rows`."""
        return total(self.rows(kind, labels, attempts, bins))

    def bins(self, kind: str, labels: Collection[str] | None = None) -> Counter[int]:
        """Returns how many are in each bin."""
        found: Counter[int] = Counter()
        for row in self.rows(kind, labels):
            found[row.bin] += row.n
        return found

    def attempts(self) -> list[int]:
        """Returns the numbers of attempts that answers took, the lowest first."""
        return sorted({row.attempts for row in self.rows("answers")})


def total(rows: Iterable[Count]) -> Total:
    """Adds counts up."""
    chosen = list(rows)
    return Total(
        sum(row.n for row in chosen),
        sum((row.sum_1 for row in chosen), Decimal(0)),
        sum((row.sum_2 for row in chosen), Decimal(0)),
    )


def pairs(counts: Counts, attempts: Collection[int] | None = None) -> dict[str, Any]:
    """Compares first with kept answers of the same questions, by scores against references.

    Args:
        counts: With the kinds `first` and `gain`.
        attempts: Only of answers that took so many.
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
    """Returns the whole cost, and for each accepted answer and each point of score; None where nothing is known.

    What was spent in vain is in it, questions of which no price is known are not. Points are of scores against a
    reference, so what self-checks cost is left out there.
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
        # Calls of a window and answers of a window are not quite of the same questions: never below zero.
        "cost_per_point": _rounded(max(Decimal(0), whole - self_checked) / points)
        if whole is not None and points
        else None,
    }


def _rounded(cost: Decimal) -> Decimal:
    return cost.quantize(Decimal("1e-9"))


def threshold_bins(scores: Mapping[int, int], threshold: Decimal, bins_per_unit: int) -> Counter[int] | None:
    """Puts counted scores into wider bins, of which bin 0 starts at the threshold.

    Returns:
        Answers by bin; None when the threshold lies inside a counted bin.
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
        counts: With the kind `prefix`.
        threshold: In bins.
        max_attempts: Attempts that a question gets at most; further ones do not count.

    Returns:
        Groups as `queries.what_if` takes them.
    """
    groups = []
    for attempt in range(1, max_attempts + 1):
        rows = counts.rows("prefix", attempts={attempt})
        reached = total(row for row in rows if row.bin >= threshold)
        # Those of them that had reached it before.
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
class Place:
    """Where one of many sorted values lies: in which bin, and how many of the bin come before it."""

    bin: int
    offset: int


def places(bins: Mapping[int, int], share: float) -> tuple[Sequence[Place], float]:
    """Finds a percentile, interpolated between two values as `percentile_cont` does.

    Args:
        bins: How many values are in each bin; at least one.
        share: 0 is the lowest, 0.5 the median, 1 the highest.

    Returns:
        The places of the two values (of one, where that is it), and the share of the second one.
    """
    position = share * (sum(bins.values()) - 1)
    return [_place(bins, rank) for rank in sorted({floor(position), ceil(position)})], position - floor(position)


def _place(bins: Mapping[int, int], rank: int) -> Place:
    for each in sorted(bins):
        if rank < bins[each]:
            return Place(each, rank)
        rank -= bins[each]
    raise ValueError("there are not so many values")


def score_bounds(each: int) -> tuple[Decimal, Decimal]:
    """Returns the lowest score of a bin and that of the next one."""
    return Decimal(each) / SCORE_BINS, Decimal(each + 1) / SCORE_BINS


def time_bounds(each: int) -> tuple[int, int]:
    """Returns the lowest time of a bin and that of the next one, in milliseconds."""
    return (ceil(exp(each / TIME_BINS)) if each else 0), ceil(exp((each + 1) / TIME_BINS))
