"""Converts rows to Plotly figures. Pure functions.

Figures are plain dicts in Plotly's JSON form. A test validates them with `plotly.graph_objects`, so that the service
does not import it (0.5 s and tens of MiB for typed wrappers of the same dicts). Texts of questions and of the model
never enter a figure, because Plotly interprets tags in texts. Only the tags <br> and <extra> are used: the others
become style attributes, which the page's Content-Security-Policy forbids.

Colours mean the same on all pages: green is accepted, amber is below the threshold, red is failed, blue is pending,
grey is none of these. Attempts are shades of violet: more attempts are darker, or lighter on a dark page. Green and
amber also differ in lightness and blueness, so that colour-blind readers can distinguish them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from viz_service.scale import CHANCE_SCORE
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
from viz_service.texts import Texts

GAP_BUCKETS = 12
"""A line is interrupted where more consecutive time buckets than these have no answer."""

FEW_POINTS = 60
"""Up to this number of points, each has a marker: a single point has no visible line."""


@dataclass(frozen=True)
class Palette:
    """Colours of a theme, as in `static/dashboard.css`. Text has a contrast of at least 4.5 : 1, bars 3 : 1."""

    text: str
    muted: str
    grid: str
    surface: str
    accepted: str
    below: str
    neutral: str
    attempts: tuple[str, ...]


PALETTES: dict[Theme, Palette] = {
    "light": Palette(
        text="#17212b",
        muted="#52606d",
        grid="#e6eaee",
        surface="#ffffff",
        accepted="#0b7a63",
        below="#c9830c",
        neutral="#7b8794",
        attempts=("#a99bd8", "#7a64bd", "#4a3391", "#2b1a63"),
    ),
    "dark": Palette(
        text="#e6ebf0",
        muted="#a3b0bc",
        grid="#2c3640",
        surface="#1a2129",
        accepted="#2eaa8d",
        below="#f0b352",
        neutral="#8e9ba8",
        attempts=("#6f5cab", "#9684d0", "#bfb1ec", "#e2daff"),
    ),
}


def score_ranges(rows: Histogram, theme: Theme, t: Texts) -> Figure:
    """Bars: share of the scored answers in each coarse range."""
    palette = PALETTES[theme]
    labels = [range_label(each, t) for each in rows.ranges]
    traces = [
        {
            "type": "bar",
            "name": t(f"chart.{side}"),
            "x": [label for label, each in zip(labels, rows.ranges, strict=True) if each.side == side],
            "y": [(each.share or 0) * 100 for each in rows.ranges if each.side == side],
            "customdata": [[each.count, _in_one_line(each, t)] for each in rows.ranges if each.side == side],
            "text": [t.percent(each.share or 0) for each in rows.ranges if each.side == side],
            "texttemplate": "%{text}",
            "textposition": "outside",
            "textfont": {"size": 12},
            "constraintext": "none",
            "cliponaxis": False,
            "hovertemplate": t("chart.hover.range") + "<extra></extra>",
            "marker": {"color": _side_color(palette, side)},
        }
        for side in ("below", "at_or_above")
    ]
    layout = _layout(palette, t) | {
        "showlegend": True,
        "bargap": 0.25,
        "xaxis": _axis(
            palette,
            t("chart.score"),
            type="category",
            categoryarray=labels,
            categoryorder="array",
            tickangle=0,
            showgrid=False,
        ),
        "yaxis": _axis(palette, t("chart.answers"), ticksuffix=t.percent(0, 0).removeprefix("0"), rangemode="tozero"),
    }
    return _figure("score-ranges", _threshold_summary(rows, t), traces, layout, empty=not rows.count)


def attempts(rows: Statistics, theme: Theme, t: Texts) -> Figure:
    """Doughnut: share of the kept answers by number of attempts."""
    palette = PALETTES[theme]
    total = rows.answers.total
    trace: dict[str, Any] = {
        "type": "pie",
        "hole": 0.62,
        "sort": False,
        "direction": "clockwise",
        "labels": [t.plural("attempts", each.attempts) for each in rows.attempts],
        "values": [each.answers for each in rows.attempts],
        "marker": {
            "colors": [_attempts_color(palette, each.attempts) for each in rows.attempts],
            "line": {"color": palette.surface, "width": 2},
        },
        "text": [t.percent(each.share) for each in rows.attempts],  # formatted as on the page, in its language
        "texttemplate": "%{text}",
        "textposition": "outside",
        "hovertemplate": t("chart.hover.attempts") + "<extra></extra>",
    }
    centre = {
        "text": f"{t.number(total)}<br>{t('chart.answers')}",
        "showarrow": False,
        "x": 0.5,
        "y": 0.5,
        "xref": "paper",
        "yref": "paper",
        "font": {"size": 15, "weight": 600, "color": palette.text},
    }
    layout = _layout(palette, t) | {
        "annotations": [centre],
        "margin": {"l": 48, "r": 48, "t": 48, "b": 24},
        "showlegend": True,
    }
    return _figure("attempts", _attempts_summary(rows, t), [trace], layout, empty=not total)


def score_histogram(rows: Histogram, theme: Theme, t: Texts) -> Figure:
    """Histogram: scored answers in bins of 0.05, by side of the threshold."""
    palette = PALETTES[theme]
    traces = []
    for side in ("below", "at_or_above"):
        bins = [each for each in rows.bins if each.side == side]
        traces.append(
            {
                "type": "bar",
                "name": t(f"chart.{side}"),
                "x": [(each.lower + each.upper) / 2 for each in bins],
                "width": [each.upper - each.lower for each in bins],
                "y": [each.count for each in bins],
                "customdata": [_span(each.lower, each.upper, t) for each in bins],
                "hovertemplate": t("chart.hover.bin") + "<extra></extra>",
                "marker": {"color": _side_color(palette, side), "line": {"color": palette.surface, "width": 1}},
            }
        )
    layout = _layout(palette, t) | {
        "bargap": 0,
        "xaxis": _axis(palette, t("chart.score"), nticks=10, tickformat=".2~f", showgrid=False),
        "yaxis": _axis(palette, t("chart.answers"), tickformat=",", rangemode="tozero"),
    }
    if rows.bins:
        mark, line = _vertical_mark(
            palette, rows.threshold, t("chart.threshold", score=t.number(rows.threshold, 2)), "dash"
        )
        chance, dots = _vertical_mark(palette, CHANCE_SCORE, t("chart.chance"), "dot")
        layout |= {"shapes": [line, dots], "annotations": [mark, chance]}
    return _figure("score-histogram", _bins_summary(rows, t), traces, layout, empty=not rows.count)


def improvement(rows: Improvement, threshold: float, theme: Theme, t: Texts) -> Figure:
    """Lines: mean score of first and of kept answers by number of attempts."""
    palette = PALETTES[theme]
    labels = [f"{t.plural('attempts', each.attempts)}<br>n = {t.number(each.count)}" for each in rows.by_attempts]
    paired = [each.mean_first_score for each in rows.by_attempts]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": t("chart.first"),
            "x": labels,
            "y": paired,
            "line": {"color": palette.neutral, "width": 2, "dash": "dot"},
            "marker": {"size": 9, "symbol": "circle-open", "color": palette.neutral, "line": {"width": 2}},
            "hovertemplate": t("chart.first") + ": %{y:.3f}<extra></extra>",
        },
        {
            "type": "scatter",
            "mode": "lines+markers+text",
            "name": t("chart.kept"),
            "x": labels,
            "y": [each.mean_score for each in rows.by_attempts],
            "texttemplate": "%{y:.3f}",
            "textposition": "top center",
            "textfont": {"color": palette.text},
            "cliponaxis": False,
            "line": {"color": palette.attempts[1], "width": 2.5},
            "marker": {"size": 9, "color": palette.attempts[1]},
            "hovertemplate": t("chart.kept") + ": %{y:.3f}<extra></extra>",
        },
    ]
    layout = (
        _layout(palette, t)
        | _score_lines(palette, threshold, t)
        | {
            "hovermode": "x unified",
            "showlegend": True,
            "xaxis": _axis(palette, None, type="category", showgrid=False, range=[-0.4, max(1, len(labels)) - 0.6]),
            "yaxis": _axis(palette, t("chart.mean"), tickformat=".2f"),
        }
    )
    return _figure("improvement", _improvement_summary(rows, t), traces, layout, empty=not rows.by_attempts)


def score_timeseries(rows: Timeseries, threshold: float, theme: Theme, t: Texts) -> Figure:
    """Line: mean score of each time bucket."""
    palette = PALETTES[theme]
    points = list(_with_gaps(rows.points, timedelta(seconds=rows.bucket_seconds)))
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if len(rows.points) <= FEW_POINTS else "lines",
        "name": t("chart.mean"),
        # UTC. Plotly has no time zones; the page converts the times to the reader's zone before it draws.
        "x": [time.strftime("%Y-%m-%dT%H:%M:%S") for time, _ in points],
        "y": [point.mean_score if point else None for _, point in points],
        "customdata": [point.count if point else None for _, point in points],
        "line": {"color": palette.attempts[1], "width": 1.5},
        "marker": {"size": 5, "color": palette.attempts[1]},
        "hovertemplate": t("chart.hover.time") + "<extra></extra>",
    }
    layout = (
        _layout(palette, t)
        | _score_lines(palette, threshold, t)
        | {
            "hovermode": "x",
            "xaxis": _axis(
                palette,
                None,
                type="date",
                showgrid=False,
                nticks=6,
                tickangle=0,
                # With seconds if ticks are closer than a minute, as on a new fleet: otherwise labels would repeat.
                tickformatstops=[
                    {"dtickrange": [None, 59_999], "value": "%H:%M:%S\n%d %b"},
                    {"dtickrange": [60_000, None], "value": "%H:%M\n%d %b"},
                ],
                hoverformat="%d %b %H:%M",
            ),
            "yaxis": _axis(palette, t("chart.mean"), tickformat=".2f"),
        }
    )
    return _figure("score-timeseries", _timeseries_summary(rows, t), [trace], layout, empty=not rows.points)


def range_label(each: ScoreRange, t: Texts) -> str:
    """Returns the label of a coarse range, in two lines that fit below a bar on a phone."""
    if each.lower is None:
        return t("chart.below_score", score=t.number(each.upper, 2))
    if each.lower == each.upper:
        return t.number(each.lower, 2)
    return t("chart.span", low=t.number(each.lower, 2), high=t.number(each.upper, 2))


def _in_one_line(each: ScoreRange, t: Texts) -> str:
    return range_label(each, t).replace("<br>", " ")


def _span(low: float, high: float, t: Texts) -> str:
    return t("chart.span", low=t.number(low, 2), high=t.number(high, 2)).replace("<br>", " ")


def _threshold_summary(rows: Histogram, t: Texts) -> str:
    if not rows.count:
        return t("chart.no_scores")
    share = rows.at_or_above_threshold / rows.count
    return t(
        "chart.ranges.summary",
        above=t.percent(share),
        below=t.percent(1 - share),
        count=t.number(rows.count),
        threshold=t.number(rows.threshold, 2),
    )


def _bins_summary(rows: Histogram, t: Texts) -> str:
    if not rows.bins:
        return t("chart.no_scores")
    fullest = max(rows.bins, key=lambda each: each.count)
    return t(
        "chart.histogram.summary",
        low=t.number(rows.bins[0].lower, 2),
        high=t.number(rows.bins[-1].upper, 2),
        fullest=_span(fullest.lower, fullest.upper, t),
        count=t.number(fullest.count),
    )


def _attempts_summary(rows: Statistics, t: Texts) -> str:
    if not rows.answers.total:
        return t("chart.no_answers")
    shares = ", ".join(
        t("chart.attempts.share", share=t.percent(each.share), attempts=t.plural("attempts", each.attempts))
        for each in rows.attempts
    )
    return t("chart.attempts.summary", count=t.number(rows.answers.total), shares=shares)


def _improvement_summary(rows: Improvement, t: Texts) -> str:
    pairs = rows.regenerated
    if not rows.by_attempts:
        return t("chart.no_scores")
    if pairs.mean_gain is None or pairs.mean_first_score is None or pairs.mean_kept_score is None:
        return t("chart.improvement.none")
    interval = pairs.gain_interval
    spread = (
        t("chart.improvement.interval", low=_gain(interval.low, t), high=_gain(interval.high, t))
        if interval
        else t("chart.improvement.one")
    )
    return t(
        "chart.improvement.summary",
        count=t.number(pairs.count),
        first=t.number(pairs.mean_first_score, 3),
        kept=t.number(pairs.mean_kept_score, 3),
        gain=_gain(pairs.mean_gain, t),
        spread=spread,
    )


def _timeseries_summary(rows: Timeseries, t: Texts) -> str:
    if not rows.points:
        return t("chart.no_scores") if rows.hours is None else t("chart.series.none", hours=rows.hours)
    count = sum(point.count for point in rows.points)
    mean = sum(point.mean_score * point.count for point in rows.points) / count
    return t(
        "chart.series.summary", count=t.number(count), mean=t.number(mean, 3), width=_width(rows.bucket_seconds, t)
    )


def _with_gaps(points: list[Point], width: timedelta) -> Iterator[tuple[datetime, Point | None]]:
    """Yields the points, and an empty one in each long gap."""
    previous: Point | None = None
    for point in points:
        if previous and point.start - previous.start > GAP_BUCKETS * width:
            yield previous.start + width, None
        yield point.start, point
        previous = point


def _layout(palette: Palette, t: Texts) -> dict[str, Any]:
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
        "separators": ",." if t.language == "es" else ".,",
        "hoverlabel": {"bgcolor": palette.surface, "bordercolor": palette.muted, "font": {"color": palette.text}},
        # The same value at each update, so that Plotly keeps the reader's changes to the chart.
        "uirevision": "dashboard",
    }


def _axis(palette: Palette, title: str | None, **more: Any) -> dict[str, Any]:
    axis = {
        # Charts must not take touch gestures: the page must scroll.
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


def _vertical_mark(palette: Palette, at: float, text: str, dash: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns label and line of a vertical mark at a position on the x axis."""
    label = {
        "x": at,
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "text": text,
        "showarrow": False,
        "font": {"color": palette.muted, "size": 12},
    }
    line = {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper"}
    return label, line | {"line": {"color": palette.text, "width": 1.5, "dash": dash}}


def _score_lines(palette: Palette, threshold: float, t: Texts) -> dict[str, Any]:
    """Returns the part of a layout that marks the threshold on the y axis.

    The chance line is only in the histogram: here it would squeeze the data into the upper half.
    """
    mark = {"color": palette.muted, "width": 1.5, "dash": "dash"}
    label = {
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "y": threshold,
        "text": t("chart.threshold", score=t.number(threshold, 2)),
        "showarrow": False,
        "xshift": 4,
        "bgcolor": palette.surface,
        "font": {"color": palette.muted, "size": 12},
    }
    return {
        "shapes": [{"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": threshold, "y1": threshold, "line": mark}],
        "annotations": [label],
    }


def _figure(name: Any, summary: str, data: list[dict[str, Any]], layout: dict[str, Any], *, empty: bool) -> Figure:
    return Figure(name=name, empty=empty, summary=summary, data=data, layout=layout)


def _side_color(palette: Palette, side: Side) -> str:
    return palette.below if side == "below" else palette.accepted


def _attempts_color(palette: Palette, count: int) -> str:
    return palette.attempts[min(max(count, 1), len(palette.attempts)) - 1]


def _gain(value: float, t: Texts) -> str:
    return ("+" if value >= 0 else "") + t.number(value, 3)


def _width(seconds: int, t: Texts) -> str:
    return t.plural("minutes", seconds // 60) if seconds < 3600 else t.plural("hours", seconds // 3600)
