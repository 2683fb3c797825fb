"""What the study of the cache says, as a page with plots. Values only."""

from collections.abc import Sequence
from typing import Any

from studies.cache.measure import POLICIES, Course, Policy, Result, row

PLOTS = {"hits": "images/cache-study-hits.png", "latency": "images/cache-study-latency.png"}
"""Beside the page."""

COLOURS: dict[Policy, str] = {"allkeys-lru": "#2a6f97", "allkeys-lfu": "#c0504d", "allkeys-random": "#7f7f7f"}
TICK_SECONDS = 1.0
"""Redis knows the age of a key in steps of this (`LRU_CLOCK_RESOLUTION`)."""


def markdown(
    results: Sequence[Result], course: Course, known: int, mean_bytes: float, redis_version: str, machine: str
) -> str:
    """Returns the page.

    Args:
        results: At least one.
        course: What each cache was asked.
        known: Real answers that the sizes were taken from.
        mean_bytes: Mean size of what is kept for an answer.
        redis_version: Of the server.
        machine: Where it was measured.
    """
    rows = [row(result) for result in results]
    columns = list(rows[0])
    table = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    table += ["| " + " | ".join(str(each[name]) for name in columns) + " |" for each in rows]
    lines = [
        "# The answer cache: size, eviction, distribution",
        "",
        "How many questions does Redis answer, how fast, and what does the rule of eviction do? Measured on a real",
        "Redis; `make study S=cache` measures again and writes this page.",
        "",
        f"![Hit rate by size, measured and predicted]({PLOTS['hits']})",
        "",
        "Points are measured, lines predicted.",
        "",
        "## What was found",
        "",
        *findings(results),
        "",
        f"![Time of a lookup by size]({PLOTS['latency']})",
        "",
        "## How",
        "",
        *method(course, known, mean_bytes, redis_version, machine),
        "",
        "## All figures",
        "",
        *table,
        "",
        "GET is the whole lookup in storage-service's code, hits and misses together: the round trip to Redis and the",
        "reading of the answer. T: for how long Che's approximation lets LRU keep an answer that nobody asks for, at",
        "the speed of the study.",
        "",
    ]
    return "\n".join(lines)


def method(course: Course, known: int, mean_bytes: float, redis_version: str, machine: str) -> list[str]:
    """Says how it was measured, and what that leaves out."""
    return [
        f"- A Redis {redis_version} of its own, set as the fleet's is but for `maxmemory` and `maxmemory-policy`;",
        "  samples of the eviction are Redis's default (5).",
        "- Each lookup runs the code that storage-service runs (`pipeline/cache.py`): `MGET answer:ID`, and on a miss",
        "  the answer is put there, as after a read from PostgreSQL. The database is left out, so is all before it.",
        f"- {course.questions:,} questions that all have an answer. Their sizes are real: the {known} answers that",
        f"  this fleet had for its question set, each under many ids ({mean_bytes:,.0f} bytes of JSON in the mean).",
        f"- Each cache starts empty and is warmed by {course.warm_up:,} lookups; {course.lookups:,} more are measured.",
        f"  One client, one lookup at a time, the same sequence for each size and policy (seed {course.seed}).",
        "- Distributions are those of the traffic generator: `uniform` and `zipf` with its exponent. Its `burst` and",
        "  `poisson` change when questions come, not which: to a cache in which nothing expires they are `uniform`.",
        "- Predictions are for as many answers as were held, as if all had the same size. LRU: Che's approximation",
        "  ([Che, Tung, Wang 2002](https://doi.org/10.1109/JSAC.2002.801752); why it is so exact:",
        "  [Fricker, Robert, Roberts 2012](https://arxiv.org/abs/1202.3974)). Random: Gelenbe 1973 (A Unified Approach",
        "  to the Evaluation of a Class of Replacement Algorithms), in the form of [Martina, Garetto, Leonardi",
        "  2014](https://arxiv.org/abs/1307.6702). LFU: the most popular answers and no other, which no rule can beat.",
        "- Independent draws are kind to LFU: what is popular stays so for ever. With people it does not; LFU then",
        "  keeps yesterday's answers for a while, LRU lets them go. This study does not show that.",
        f"- Redis counts the age of a key in steps of {TICK_SECONDS:g} s. The study asks thousands of times a second,",
        "  people a few times: where T is few steps, LRU cannot tell old from new as well as it would in the fleet.",
        f"- Measured on: {machine}.",
    ]


def findings(results: Sequence[Result]) -> list[str]:
    """Says in sentences what the figures say."""
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


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """Draws the two plots, by their names in `PLOTS`."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = list(dict.fromkeys(each.distribution for each in results))
    hits = make_subplots(1, len(names), shared_yaxes=True, subplot_titles=names)
    latency = make_subplots(1, len(names), shared_yaxes=True, subplot_titles=names)
    for column, name in enumerate(names, 1):
        for policy in POLICIES:
            own = [each for each in results if (each.distribution, each.policy) == (name, policy)]
            sizes = [each.mebibytes for each in own]
            line = {"color": COLOURS[policy]}
            shown = {"legendgroup": policy, "showlegend": column == 1, "name": policy}
            hits.add_trace(
                go.Scatter(x=sizes, y=[each.hit_rate for each in own], mode="markers", marker=line, **shown), 1, column
            )
            hits.add_trace(
                go.Scatter(
                    x=sizes,
                    y=[each.predicted for each in own],
                    mode="lines",
                    line=line | {"dash": "dot"},
                    **shown | {"showlegend": False},
                ),
                1,
                column,
            )
            for percent, dash in ((50, "solid"), (99, "dash")):
                latency.add_trace(
                    go.Scatter(
                        x=sizes,
                        y=[each.microseconds(percent) for each in own],
                        mode="lines+markers",
                        line=line | {"dash": dash},
                        **shown | {"name": f"{policy}, p{percent}"},
                    ),
                    1,
                    column,
                )
    for figure, title, scale in ((hits, "hit rate", {"tickformat": ".0%"}), (latency, "µs", {"rangemode": "tozero"})):
        figure.update_layout(template="plotly_white", width=1100, height=420, margin={"t": 50, "b": 50})
        figure.update_xaxes(title="Redis, MiB")
        figure.update_yaxes(title=title, row=1, col=1)
        figure.update_yaxes(**scale)
    return {"hits": hits, "latency": latency}


def _pairs(results: Sequence[Result], one: Policy, other: Policy) -> list[tuple[Result, Result]]:
    """Returns the results of two policies that differ in nothing else."""
    by = {(each.exponent, each.mebibytes): each for each in results if each.policy == one}
    return [
        (by[each.exponent, each.mebibytes], each)
        for each in results
        if each.policy == other and (each.exponent, each.mebibytes) in by
    ]


def _where(result: Result) -> str:
    return f"`{result.distribution}` at {result.mebibytes} MiB"
