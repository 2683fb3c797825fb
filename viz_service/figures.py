"""Rows to Plotly figures. Pure.

Figures are plain dicts in Plotly's JSON form; a test validates them with `plotly.graph_objects`, which the service
itself then need not import (0.5 s and tens of MiB for typed wrappers of the same dicts). No text of a question or of
the model ever enters a figure, since Plotly reads tags in texts; of those, only <br> and <extra> are used: the others
become style attributes, which the page's Content-Security-Policy forbids.

Colours have a meaning: blue is at or above the threshold, orange below it, grey neither; attempts are shades of
violet, darker (on a dark page: lighter) for more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from viz_service.schemas import (
    Figure,
    Histogram,
    Improvement,
    Point,
    ScoreRange,
    Side,
    Statistics,
    Theme,
    Timeseries,
)

GAP_BUCKETS = 12
"""A line is broken where more time buckets than these in a row have no answer: nothing was measured there."""

FEW_POINTS = 60
"""Up to so many points, each is marked: a lone point has no line to be seen by."""


@dataclass(frozen=True)
class Palette:
    """Colours of a theme; `static/dashboard.css` has the same ones. Text reaches a contrast of 4.5 : 1, bars 3 : 1."""

    text: str
    muted: str
    grid: str
    surface: str
    above: str
    below: str
    neutral: str
    attempts: tuple[str, ...]


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        text="#1c2733",
        muted="#56636f",
        grid="#e4e8ec",
        surface="#ffffff",
        above="#1f6fb2",
        below="#c8621b",
        neutral="#7b8794",
        attempts=("#a99bd8", "#7a64bd", "#4a3391", "#2b1a63"),
    ),
    "dark": Palette(
        text="#e6ebf0",
        muted="#a3b0bc",
        grid="#2f3943",
        surface="#1a2129",
        above="#5aa9e6",
        below="#f0934f",
        neutral="#8e9ba8",
        attempts=("#6f5cab", "#9684d0", "#bfb1ec", "#e2daff"),
    ),
}


def score_ranges(rows: Histogram, theme: Theme) -> Figure:
    """Bars: share of the scored answers in each coarse range."""
    palette = PALETTES[theme]
    labels = [range_label(each) for each in rows.ranges]
    traces = [
        {
            "type": "bar",
            "name": _side_name(side),
            "x": [label for label, each in zip(labels, rows.ranges, strict=True) if each.side == side],
            "y": [(each.share or 0) * 100 for each in rows.ranges if each.side == side],
            "customdata": [[each.count, _in_one_line(each)] for each in rows.ranges if each.side == side],
            "texttemplate": "%{y:.1f}%",
            "textposition": "outside",
            "textfont": {"size": 12},
            "constraintext": "none",
            "cliponaxis": False,
            "hovertemplate": "score %{customdata[1]}: %{y:.1f}% (%{customdata[0]:,} answers)<extra></extra>",
            "marker": {"color": _side_color(palette, side)},
        }
        for side in ("below", "at_or_above")
    ]
    layout = _layout(palette) | {
        "showlegend": True,
        "bargap": 0.25,
        "xaxis": _axis(
            palette, "score", type="category", categoryarray=labels, categoryorder="array", tickangle=0, showgrid=False
        ),
        "yaxis": _axis(palette, "answers", ticksuffix="%", rangemode="tozero"),
    }
    return _figure("score-ranges", _threshold_summary(rows), traces, layout, empty=not rows.count)


def attempts(rows: Statistics, theme: Theme) -> Figure:
    """Doughnut: share of the kept answers by number of attempts."""
    palette = PALETTES[theme]
    total = rows.answers.total
    trace: dict[str, Any] = {
        "type": "pie",
        "hole": 0.62,
        "sort": False,
        "direction": "clockwise",
        "labels": [_attempts(each.attempts) for each in rows.attempts],
        "values": [each.answers for each in rows.attempts],
        "marker": {
            "colors": [_attempts_color(palette, each.attempts) for each in rows.attempts],
            "line": {"color": palette.surface, "width": 2},
        },
        "texttemplate": "%{percent:.1%}",
        "textposition": "outside",
        "hovertemplate": "%{label}: %{value:,} answers (%{percent:.1%})<extra></extra>",
    }
    centre = {
        "text": f"{total:,}<br>answers",
        "showarrow": False,
        "x": 0.5,
        "y": 0.5,
        "xref": "paper",
        "yref": "paper",
        "font": {"size": 15, "weight": 600, "color": palette.text},
    }
    layout = _layout(palette) | {
        "annotations": [centre],
        "margin": {"l": 48, "r": 48, "t": 48, "b": 24},
        "showlegend": True,
    }
    return _figure("attempts", _attempts_summary(rows), [trace], layout, empty=not total)


def score_histogram(rows: Histogram, theme: Theme) -> Figure:
    """Histogram: scored answers in bins of 0.05, by side of the threshold."""
    palette = PALETTES[theme]
    traces = []
    for side in ("below", "at_or_above"):
        bins = [each for each in rows.bins if each.side == side]
        traces.append(
            {
                "type": "bar",
                "name": _side_name(side),
                "x": [(each.lower + each.upper) / 2 for each in bins],
                "width": [each.upper - each.lower for each in bins],
                "y": [each.count for each in bins],
                "customdata": [f"{each.lower:.2f} to {each.upper:.2f}" for each in bins],
                "hovertemplate": "score %{customdata}: %{y:,} answers<extra></extra>",
                "marker": {"color": _side_color(palette, side), "line": {"color": palette.surface, "width": 1}},
            }
        )
    mark = {
        "x": rows.threshold,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "text": f"threshold {score(rows.threshold, 2)}",
        "showarrow": False,
        "font": {"color": palette.muted, "size": 12},
    }
    line = {"type": "line", "x0": rows.threshold, "x1": rows.threshold, "y0": 0, "y1": 1, "yref": "paper"}
    layout = _layout(palette) | {
        "bargap": 0,
        "xaxis": _axis(palette, "score", dtick=0.1, tickformat=".1f", showgrid=False),
        "yaxis": _axis(palette, "answers", tickformat=",", rangemode="tozero"),
        "shapes": [line | {"line": {"color": palette.text, "width": 1.5, "dash": "dash"}}] if rows.bins else [],
        "annotations": [mark] if rows.bins else [],
    }
    return _figure("score-histogram", _bins_summary(rows), traces, layout, empty=not rows.count)


def improvement(rows: Improvement, threshold: float, theme: Theme) -> Figure:
    """Lines: mean score of first and of kept answers by number of attempts."""
    palette = PALETTES[theme]
    labels = [f"{_attempts(each.attempts)}<br>n = {each.count:,}" for each in rows.by_attempts]
    paired = [each.mean_first_score for each in rows.by_attempts]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "first answer",
            "x": labels,
            "y": paired,
            "line": {"color": palette.neutral, "width": 2, "dash": "dot"},
            "marker": {"size": 9, "symbol": "circle-open", "color": palette.neutral, "line": {"width": 2}},
            "hovertemplate": "first answer: %{y:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines+markers+text",
            "name": "kept answer",
            "x": labels,
            "y": [each.mean_score for each in rows.by_attempts],
            "texttemplate": "%{y:.3f}",
            "textposition": "top center",
            "textfont": {"color": palette.text},
            "cliponaxis": False,
            "line": {"color": palette.attempts[1], "width": 2.5},
            "marker": {"size": 9, "color": palette.attempts[1]},
            "hovertemplate": "kept answer: %{y:.3f}<extra></extra>",
        },
    ]
    layout = (
        _layout(palette)
        | _threshold_line(palette, threshold)
        | {
            "hovermode": "x unified",
            "showlegend": True,
            "xaxis": _axis(palette, None, type="category", showgrid=False, range=[-0.4, max(1, len(labels)) - 0.6]),
            "yaxis": _axis(palette, "mean score", tickformat=".2f"),
        }
    )
    return _figure("improvement", _improvement_summary(rows), traces, layout, empty=not rows.by_attempts)


def score_timeseries(rows: Timeseries, threshold: float, theme: Theme) -> Figure:
    """Line: mean score of each time bucket."""
    palette = PALETTES[theme]
    points = list(_with_gaps(rows.points, timedelta(seconds=rows.bucket_seconds)))
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if len(rows.points) <= FEW_POINTS else "lines",
        "name": "mean score",
        "x": [time.strftime("%Y-%m-%dT%H:%M:%S") for time, _ in points],  # Plotly takes no offsets: the axis says UTC
        "y": [point.mean_score if point else None for _, point in points],
        "customdata": [point.count if point else None for _, point in points],
        "line": {"color": palette.attempts[1], "width": 1.5},
        "marker": {"size": 5, "color": palette.attempts[1]},
        "hovertemplate": "%{y:.3f} (%{customdata:,} answers)<extra></extra>",
    }
    layout = (
        _layout(palette)
        | _threshold_line(palette, threshold)
        | {
            "hovermode": "x",
            "xaxis": _axis(
                palette,
                "time (UTC)",
                type="date",
                showgrid=False,
                nticks=6,
                tickangle=0,
                tickformat="%H:%M\n%d %b",
                hoverformat="%d %b %H:%M UTC",
            ),
            "yaxis": _axis(palette, "mean score", tickformat=".2f"),
        }
    )
    return _figure("score-timeseries", _timeseries_summary(rows), [trace], layout, empty=not rows.points)


def range_label(each: ScoreRange) -> str:
    """Names a coarse range in two lines, which fit below a bar on a telephone."""
    if each.lower is None:
        return f"below<br>{score(each.upper, 2)}"
    if each.lower == each.upper:
        return score(each.lower, 2)
    return f"{score(each.lower, 2)}<br>to {score(each.upper, 2)}"


def _in_one_line(each: ScoreRange) -> str:
    return range_label(each).replace("<br>", " ")


def score(value: float, digits: int = 3) -> str:
    """Writes a score with a real minus sign."""
    return f"{value:.{digits}f}".replace("-", "\u2212")


def _threshold_summary(rows: Histogram) -> str:
    if not rows.count:
        return "No scored answers yet."
    share = rows.at_or_above_threshold / rows.count
    return (
        f"{share:.1%} of {rows.count:,} scored answers are at or above the threshold of {score(rows.threshold, 2)}, "
        f"{1 - share:.1%} below it."
    )


def _bins_summary(rows: Histogram) -> str:
    if not rows.bins:
        return "No scored answers yet."
    fullest = max(rows.bins, key=lambda each: each.count)
    return (
        f"Scores lie between {score(rows.bins[0].lower, 2)} and {score(rows.bins[-1].upper, 2)}. Of the bins, each "
        f"{rows.bin_width} wide and counted from the threshold, {score(fullest.lower, 2)} to "
        f"{score(fullest.upper, 2)} is the fullest with {fullest.count:,} answers."
    )


def _attempts_summary(rows: Statistics) -> str:
    if not rows.answers.total:
        return "No answers yet."
    shares = ", ".join(f"{each.share:.1%} took {_attempts(each.attempts)}" for each in rows.attempts)
    return f"Of {rows.answers.total:,} kept answers {shares}."


def _improvement_summary(rows: Improvement) -> str:
    pairs = rows.regenerated
    if not rows.by_attempts:
        return "No scored answers yet."
    if pairs.mean_gain is None or pairs.mean_first_score is None or pairs.mean_kept_score is None:
        return "No question has been asked a second time yet."
    interval = pairs.gain_interval
    spread = f"95% confidence interval {_gain(interval.low)} to {_gain(interval.high)}" if interval else "one question"
    return (
        f"{pairs.count:,} questions were regenerated. For the same questions, the first answer scored "
        f"{score(pairs.mean_first_score)} on average and the kept one {score(pairs.mean_kept_score)}: "
        f"a mean gain of {_gain(pairs.mean_gain)} ({spread}). Part of that is chance: the first answers were low, and "
        "the best of several is kept. Compare the two lines, not one line's points, which are different questions."
    )


def _timeseries_summary(rows: Timeseries) -> str:
    if not rows.points:
        return f"No scored answers in the last {rows.hours} h."
    count = sum(point.count for point in rows.points)
    mean = sum(point.mean_score * point.count for point in rows.points) / count
    return (
        f"{count:,} scored answers from {_clock(rows.since)} to {_clock(rows.until)} UTC, mean score {score(mean)}; "
        f"one point for each {_width(rows.bucket_seconds)}."
    )


def _with_gaps(points: list[Point], width: timedelta) -> Iterator[tuple[datetime, Point | None]]:
    """Yields the points, and an empty one in each long gap."""
    previous: Point | None = None
    for point in points:
        if previous and point.start - previous.start > GAP_BUCKETS * width:
            yield previous.start + width, None
        yield point.start, point
        previous = point


def _layout(palette: Palette) -> dict[str, Any]:
    return {
        "autosize": True,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": palette.text},
        "margin": {"l": 60, "r": 16, "t": 32, "b": 52},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "showlegend": False,
        "dragmode": False,
        "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.muted, "font": {"color": palette.text}},
        # The same value at each update: Plotly keeps what the reader has done to the chart.
        "uirevision": "dashboard",
    }


def _axis(palette: Palette, title: str | None, **more: Any) -> dict[str, Any]:
    axis = {
        # The page must scroll under a finger, so no chart takes the gesture.
        "fixedrange": True,
        "automargin": True,
        "gridcolor": palette.grid,
        "linecolor": palette.grid,
        "zeroline": False,
        "tickfont": {"color": palette.muted, "size": 12},
    }
    if title:
        axis["title"] = {"text": title, "font": {"color": palette.muted, "size": 12}, "standoff": 10}
    return axis | more


def _threshold_line(palette: Palette, threshold: float) -> dict[str, Any]:
    """Returns the part of a layout that marks the threshold on the y axis."""
    mark = {"color": palette.muted, "width": 1.5, "dash": "dash"}
    label = {
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "y": threshold,
        "text": f"threshold {score(threshold, 2)}",
        "showarrow": False,
        "bgcolor": palette.surface,
        "font": {"color": palette.muted, "size": 12},
    }
    return {
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": threshold, "y1": threshold, "line": mark}],
        "annotations": [label],
    }


def _figure(name: Any, summary: str, data: list[dict[str, Any]], layout: dict[str, Any], *, empty: bool) -> Figure:
    return Figure(name=name, empty=empty, summary=summary, data=data, layout=layout)


def _side_name(side: Side) -> str:
    return "below the threshold" if side == "below" else "at or above the threshold"


def _side_color(palette: Palette, side: Side) -> str:
    return palette.below if side == "below" else palette.above


def _attempts(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"


def _attempts_color(palette: Palette, count: int) -> str:
    return palette.attempts[min(max(count, 1), len(palette.attempts)) - 1]


def _gain(value: float) -> str:
    return ("+" if value >= 0 else "") + score(value)


def _clock(time: datetime) -> str:
    return f"{time:%d %b %H:%M}"


def _width(seconds: int) -> str:
    number, unit = (seconds // 60, "minute") if seconds < 3600 else (seconds // 3600, "hour")
    return unit if number == 1 else f"{number} {unit}s"
