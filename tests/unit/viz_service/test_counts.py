"""Figures computed from counts equal those computed from the rows."""

import random
from collections import Counter
from decimal import Decimal
from math import floor, log
from statistics import mean, median, stdev

import pytest

from viz_service import counts
from viz_service.counts import Count, Counts, Total
from viz_service.queries import what_if

ACCEPTED, BELOW = "accepted", "max_retries_reached"


def prefixes(scores: list[float]) -> list[Count]:
    """Returns the counts that the database keeps of one question's attempts."""
    bests = [Decimal(str(max(scores[: number + 1]))) for number in range(len(scores))]
    return [
        Count(
            "prefix",
            "more" if number + 1 < len(bests) else "ended",
            number + 1,
            floor(best * 100),
            1,
            best,
            bests[number + 1] if number + 1 < len(bests) else Decimal(0),
        )
        for number, best in enumerate(bests)
    ]


def what_if_of_attempts(questions: list[list[float]], threshold: float, most: int) -> tuple[list[int], int, int, float]:
    """Computes the what-if from the attempts: passed at, exhausted, unknown, mean score."""
    passed, exhausted, unknown, kept = [0] * most, 0, 0, []
    for scores in (each[:most] for each in questions):
        at = next((number for number, score in enumerate(scores) if score >= threshold), None)
        if at is not None:
            passed[at] += 1
        elif len(scores) == most:
            exhausted += 1
        else:
            unknown += 1
        kept.append(max(scores) if at is None else scores[at])
    return passed, exhausted, unknown, mean(kept)


@pytest.mark.parametrize("most", [1, 2, 3, 5])
@pytest.mark.parametrize("threshold", [-0.2, 0, 0.31, 0.32, 0.5, 1])
def test_a_what_if_from_counts_equals_that_from_the_attempts(threshold: float, most: int) -> None:
    chance = random.Random(7)
    questions = [[round(chance.uniform(-0.3, 1), 2) for _ in range(chance.randint(1, 4))] for _ in range(200)]
    rows = Counts([row for scores in questions for row in prefixes(scores)])
    found = what_if(threshold, most, counts.what_if_groups(rows, round(threshold * 100), most))
    passed, exhausted, unknown, score = what_if_of_attempts(questions, threshold, most)
    assert (found.passed, found.exhausted, found.unknown, found.questions) == (passed, exhausted, unknown, 200)
    assert found.mean_score == pytest.approx(score)


@pytest.mark.parametrize("share", [0, 0.5, 0.95, 1])
@pytest.mark.parametrize("size", [1, 2, 3, 10, 11])
def test_a_percentile_is_interpolated_from_counts(share: float, size: int) -> None:
    chance = random.Random(size)
    values = sorted(chance.randint(0, 40) for _ in range(size))
    by_bin = {each: [value for value in values if value // 10 == each] for each in range(5)}
    places, second = counts.places(Counter(value // 10 for value in values), share)
    found = [by_bin[place.bin][place.offset] for place in places]
    interpolated = found[0] + (found[-1] - found[0]) * second
    position = share * (size - 1)
    low = floor(position)
    assert interpolated == pytest.approx(
        values[low] + (values[min(low + 1, size - 1)] - values[low]) * (position - low)
    )
    if share == 0.5:
        assert interpolated == pytest.approx(median(values))


def test_bins_of_times_equal_those_of_the_database() -> None:
    """The database computes a bin as floor(ln(ms) * 50)."""
    for ms in [*range(1, 5000), *(10**power for power in range(4, 10)), 86_400_000]:
        low, high = counts.time_bounds(floor(log(ms) * 50))
        assert low <= ms < high
    assert counts.time_bounds(0)[0] == 0


def test_bins_of_scores_are_a_hundredth_wide() -> None:
    assert counts.score_bounds(-3) == (Decimal("-0.03"), Decimal("-0.02"))


@pytest.mark.parametrize(
    ("threshold", "found"),
    [("0.32", {-1: 3, 0: 6, 1: 1}), ("0.325", None)],
)
def test_scores_are_grouped_into_bins_that_start_at_the_threshold(threshold: str, found: dict[int, int] | None) -> None:
    scores = {27: 1, 31: 2, 32: 5, 36: 1, 37: 1}
    assert counts.threshold_bins(scores, Decimal(threshold), 20) == found


def test_the_deviation_from_sums_equals_that_of_the_values() -> None:
    values = [Decimal("0.1"), Decimal("0.4"), Decimal("0.35")]
    made = Total(3, sum(values, Decimal(0)), sum((each * each for each in values), Decimal(0)))
    assert made.deviation == pytest.approx(stdev(map(float, values)))
    assert Total(1, Decimal(1), Decimal(1)).deviation is None


def test_scores_on_two_scales_are_never_mixed() -> None:
    rows = Counts(
        [
            Count("first", ACCEPTED, 2, 0, 1, Decimal("0.2")),
            Count("gain", ACCEPTED, 2, 1, 1, Decimal("0.3"), Decimal("0.09")),
            Count("first", "self_check_accepted", 2, 0, 1, Decimal("0.9")),
            Count("gain", "self_check_accepted", 2, 0, 1, Decimal("0.0")),
        ]
    )
    made = counts.pairs(rows)
    assert (made["count"], made["improved"], made["mean_kept_score"]) == (1, 1, Decimal("0.5"))


def test_costs_include_all_calls_and_points_exclude_self_checks() -> None:
    rows = Counts(
        [
            Count("cost", "attempts", 0, 0, 4, Decimal("0.010")),
            Count("priced", ACCEPTED, 0, 0, 2, Decimal("0.004"), Decimal("1.0")),
            Count("priced", "self_check_accepted", 0, 0, 1, Decimal("0.003"), Decimal("0.5")),
        ]
    )
    assert counts.costs(rows) == {
        "cost": Decimal("0.010"),
        "cost_per_accepted": Decimal("0.005"),
        "cost_per_point": Decimal("0.007"),
    }
    assert set(counts.costs(Counts([])).values()) == {None}
