"""Buckets of scores and times. Pure functions.

Score bins start at the threshold, not at zero, so that no bin lies on both sides of it.
"""

from collections.abc import Mapping
from decimal import Decimal
from math import ceil

from viz_service.schemas import Bin, Histogram, ScoreRange, Side

BINS_PER_UNIT = 20
"""Bins are 0.05 wide. A whole number, because multiplying by it is exact in SQL; dividing by 0.05 may not be."""

MAX_POINTS = 300
TIME_BUCKETS = (60, 120, 300, 600, 900, 1800, 3600, 7200)
"""Widths of time buckets, in seconds: round on a clock. Below a minute a point would be only one or two answers."""


def time_bucket(span_seconds: float) -> int:
    """Returns the width, in seconds, of buckets that cover a span with at most `MAX_POINTS` of them."""
    for width in TIME_BUCKETS:
        if span_seconds / width + 1 <= MAX_POINTS:  # one more, because the span rarely begins at the edge of a bucket
            return width
    return TIME_BUCKETS[-1]


def histogram(threshold: float, counts: Mapping[int, int]) -> Histogram:
    """Returns the histogram and the coarse ranges of counted scores.

    Args:
        threshold: Score at or above which an answer is accepted.
        counts: Answers by bin; bin 0 starts at the threshold, bin -1 ends there.
    """
    start = Decimal(str(threshold))
    # A score of exactly 1 belongs to the last bin.
    last = max(0, ceil((1 - start) * BINS_PER_UNIT) - 1)
    clamped: dict[int, int] = {}
    for index, count in counts.items():
        clamped[min(index, last)] = clamped.get(min(index, last), 0) + count
    total = sum(clamped.values())
    accepted = sum(count for index, count in clamped.items() if index >= 0)
    bins = [
        Bin(
            lower=float(_edge(start, index)),
            upper=float(_upper(start, index)),
            count=clamped.get(index, 0),
            side=_side(index),
        )
        for index in (range(min(clamped), max(clamped) + 1) if clamped else ())
    ]
    return Histogram(
        threshold=threshold,
        bin_width=1 / BINS_PER_UNIT,
        count=total,
        at_or_above_threshold=accepted,
        bins=bins,
        ranges=_ranges(start, clamped, total),
    )


def _ranges(start: Decimal, counts: Mapping[int, int], total: int) -> list[ScoreRange]:
    """Sums bins up to two ranges above the threshold and three below it.

    The two upper ranges split the distance from the threshold to 1 in the ratio 1 : 2, rounded to bins: 0.85-0.90-1.00
    for a threshold of 0.85, 0.48-0.63-1.00 for a threshold of 0.48.
    """
    step = max(1, round((1 - start) * BINS_PER_UNIT / 3))
    edges = [-2 * step, -step, 0] + ([step] if _edge(start, step) < 1 else [])
    ranges = []
    for lower, upper in zip([None, *edges], [*edges, None], strict=True):
        count = sum(
            n for index, n in counts.items() if (lower is None or index >= lower) and (upper is None or index < upper)
        )
        ranges.append(
            ScoreRange(
                lower=None if lower is None else float(_edge(start, lower)),
                upper=1.0 if upper is None else float(_edge(start, upper)),
                count=count,
                share=count / total if total else None,
                side=_side(-1 if lower is None else lower),
            )
        )
    return ranges


def _edge(start: Decimal, index: int) -> Decimal:
    return start + Decimal(index) / BINS_PER_UNIT


def _upper(start: Decimal, index: int) -> Decimal:
    lower, upper = _edge(start, index), _edge(start, index + 1)
    return upper if lower >= 1 else min(upper, Decimal(1))


def _side(index: int) -> Side:
    return "at_or_above" if index >= 0 else "below"
