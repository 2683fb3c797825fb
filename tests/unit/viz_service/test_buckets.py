"""Grouping of scores and times into buckets."""

import pytest

from viz_service import buckets


def test_bins_start_at_the_threshold_and_fill_gaps() -> None:
    bins = buckets.histogram(0.48, {-2: 1, 1: 4}).bins
    assert [(each.lower, each.upper, each.count, each.side) for each in bins] == [
        (0.38, 0.43, 1, "below"),
        (0.43, 0.48, 0, "below"),
        (0.48, 0.53, 0, "at_or_above"),
        (0.53, 0.58, 4, "at_or_above"),
    ]


def test_a_perfect_score_belongs_to_the_last_bin() -> None:
    bins = buckets.histogram(0.85, {2: 1, 3: 2}).bins  # floor((1 - 0.85) * 20) is 3
    assert [(each.lower, each.upper, each.count) for each in bins] == [(0.95, 1.0, 3)]


def test_the_last_bin_ends_at_one() -> None:
    assert buckets.histogram(0.48, {10: 1}).bins[-1].upper == 1.0


@pytest.mark.parametrize(
    ("threshold", "edges"),
    [(0.85, [None, 0.75, 0.8, 0.85, 0.9]), (0.48, [None, 0.18, 0.33, 0.48, 0.63]), (1.0, [None, 0.9, 0.95, 1.0])],
)
def test_one_edge_of_the_ranges_is_the_threshold(threshold: float, edges: list[float | None]) -> None:
    ranges = buckets.histogram(threshold, {}).ranges
    assert [each.lower for each in ranges] == edges
    assert ranges[-1].upper == 1.0
    assert [each.side for each in ranges] == [
        "at_or_above" if each.lower is not None and each.lower >= threshold else "below" for each in ranges
    ]


def test_ranges_and_bins_count_the_same_answers() -> None:
    made = buckets.histogram(0.48, {-9: 1, -3: 2, -1: 3, 0: 4, 3: 5, 10: 6})
    assert sum(each.count for each in made.ranges) == sum(each.count for each in made.bins) == made.count == 21
    assert made.at_or_above_threshold == 15
    assert [each.count for each in made.ranges] == [1, 0, 5, 4, 11]


def test_ranges_are_empty_without_answers() -> None:
    made = buckets.histogram(0.48, {})
    assert (made.count, made.bins) == (0, [])
    assert {each.share for each in made.ranges} == {None}


@pytest.mark.parametrize(
    ("hours", "seconds"), [(0, 60), (1, 60), (4, 60), (5, 120), (24, 300), (25, 600), (48, 600), (168, 3600)]
)
def test_time_buckets_are_round_and_few(hours: int, seconds: int) -> None:
    assert buckets.time_bucket(hours * 3600) == seconds
    assert hours * 3600 / seconds + 1 <= buckets.MAX_POINTS
