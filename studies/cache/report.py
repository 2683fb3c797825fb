"""Renders the page about the answer cache, and its plots. No I/O."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from studies.cache.measure import POLICIES, LookupPlan, Policy, Result
from studies.reporting import plots
from studies.reporting.tables import table_of
from studies.reporting.templates import render

PLOTS = {"hits": "images/cache-study-hits.png", "latency": "images/cache-study-latency.png"}
"""Paths of the plots, relative to the page."""

COLOURS: dict[Policy, str] = {
    "allkeys-lru": plots.BLUE,
    "allkeys-lfu": plots.BAD,
    "allkeys-random": plots.GREY,
}
TICK_SECONDS = 1.0
"""Resolution of the age of a key in Redis (`LRU_CLOCK_RESOLUTION`)."""


def document(
    results: Sequence[Result], asked: LookupPlan, known: int, mean_bytes: float, redis_version: str, machine: str
) -> str:
    """Returns the page.

    Args:
        results: At least one.
        asked: The lookups of each cache.
        known: Number of real answers that the sizes were taken from.
        mean_bytes: Mean size of a cached answer.
        redis_version: Version of the server.
        machine: Description of the machine.
    """
    return render(
        "cache/templates/cache-study.md.j2",
        plots=PLOTS,
        findings=findings(results),
        asked=asked,
        known=known,
        mean_bytes=mean_bytes,
        redis_version=redis_version,
        tick_seconds=TICK_SECONDS,
        machine=machine,
        table=table_of(hit_rates(results)),
    )


def hit_rates(results: Sequence[Result]) -> list[dict[str, str]]:
    """Returns measured and predicted hit rates by policy, for the sizes at which at least one cache was full."""
    rows: dict[tuple[str, int], dict[str, str]] = {}
    full = {(each.distribution, each.mebibytes) for each in results if each.predicted is not None}
    for each in results:
        where = (each.distribution, each.mebibytes)
        if where in full:
            row = rows.setdefault(where, {"distribution": each.distribution, "Redis": f"{each.mebibytes} MiB"})
            predicted = "never full" if each.predicted is None else f"{each.predicted:.1%}"
            row[each.policy] = f"{each.hit_rate:.1%} ({predicted})"
    return list(rows.values())


def findings(results: Sequence[Result]) -> list[str]:
    """Returns the findings as sentences."""
    said = []
    for policy, by in (("allkeys-lru", "Che's approximation"), ("allkeys-random", "its prediction")):
        own = [
            (each.hit_rate - each.predicted, each)
            for each in results
            if each.policy == policy and each.predicted is not None
        ]
        if own:
            most, where = max(own, key=lambda pair: abs(pair[0]))
            mean = sum(abs(difference) for difference, _ in own) / len(own)
            said.append(
                f"- `{policy}` is off {by} by {mean * 100:.1f} points in the mean, by {most * 100:+.1f} at most "
                f"({_where(where)}, T {where.characteristic_seconds:.1f} s)."
            )
    for other in ("allkeys-lfu", "allkeys-random"):
        pairs = _pairs(results, "allkeys-lru", other)
        if pairs:
            lru, found = max(pairs, key=lambda pair: abs(pair[1].hit_rate - pair[0].hit_rate))
            said.append(
                f"- `{other}` differs most from `allkeys-lru` with {_where(found)}: {found.hit_rate:.1%} against "
                f"{lru.hit_rate:.1%}."
            )
    uniform = [each for each in results if not each.exponent]
    if uniform:
        spread = max(
            max(rates) - min(rates)
            for size in {each.mebibytes for each in uniform}
            if (rates := [each.hit_rate for each in uniform if each.mebibytes == size])
        )
        said.append(
            "- With `uniform` questions there is nothing to tell apart: at the same size the policies are within "
            f"{spread * 100:.1f} points."
        )
    fastest, slowest = (choose(results, key=lambda each: each.microseconds(50)) for choose in (min, max))
    said.append(
        f"- A lookup takes {fastest.microseconds(50):.0f} to {slowest.microseconds(50):.0f} µs (p50) in all of them; "
        f"p99 is {max(each.microseconds(99) for each in results):.0f} µs at most."
    )
    return said


def figures(results: Sequence[Result]) -> dict[str, Figure]:
    """Returns the two plots by their names in `PLOTS`."""
    names = list(dict.fromkeys(each.distribution for each in results))
    (hits, hit_axes), (latency, latency_axes) = (
        plots.panels(len(names), (11, 4.2), share_y=True) for _ in ("hits", "latency")
    )
    for hit_axis, latency_axis, name in zip(_each(hit_axes), _each(latency_axes), names, strict=True):
        for policy in POLICIES:
            own = [each for each in results if (each.distribution, each.policy) == (name, policy)]
            sizes, colour = [each.mebibytes for each in own], COLOURS[policy]
            hit_axis.plot(sizes, [each.hit_rate for each in own], "o", color=colour, label=policy)
            predicted = [math.nan if each.predicted is None else each.predicted for each in own]
            hit_axis.plot(sizes, predicted, ":", color=colour)
            for percent, line in ((50, "o-"), (99, "o--")):
                times = [each.microseconds(percent) for each in own]
                latency_axis.plot(sizes, times, line, color=colour, label=f"{policy}, p{percent}")
        for axis in (hit_axis, latency_axis):
            axis.set(title=name, xlabel="Redis, MiB")
        hit_axis.yaxis.set_major_formatter(PercentFormatter(1))
    for figure, axes, title in ((hits, _each(hit_axes), "hit rate"), (latency, _each(latency_axes), "µs")):
        axes[0].set(ylabel=title)
        plots.legend_above(figure, axes[0])
    _each(latency_axes)[0].set_ylim(bottom=0)
    return {"hits": hits, "latency": latency}


def _each(axes: Any) -> list[Any]:
    return list(np.atleast_1d(axes))


def _pairs(results: Sequence[Result], one: Policy, other: Policy) -> list[tuple[Result, Result]]:
    """Returns pairs of results that differ only in the policy."""
    by = {(each.exponent, each.mebibytes): each for each in results if each.policy == one}
    return [
        (by[each.exponent, each.mebibytes], each)
        for each in results
        if each.policy == other and (each.exponent, each.mebibytes) in by
    ]


def _where(result: Result) -> str:
    return f"`{result.distribution}` at {result.mebibytes} MiB"
