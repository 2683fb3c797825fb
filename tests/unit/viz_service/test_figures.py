"""Figures made from rows are valid for Plotly."""

import json
import re
from datetime import timedelta

import plotly.graph_objects as go
import pytest

from tests.unit.viz_service.fakes import NO_PAIRS, NOW, PAIRS, THRESHOLD, FakeQueries
from viz_service import buckets, figures, queries
from viz_service.scale import CHANCE_SCORE
from viz_service.schemas import AttemptScore, Figure, Improvement, Point, Theme, Timeseries
from viz_service.texts import LANGUAGES, Language, Texts, catalogue

EN = catalogue("en")


def build(rows: FakeQueries, theme: Theme, t: Texts = EN) -> list[Figure]:
    return [
        figures.score_ranges(rows.histogram(), theme, t),
        figures.attempts(rows.statistics(), theme, t),
        figures.score_histogram(rows.histogram(), theme, t),
        figures.improvement(rows.improvement(), THRESHOLD, theme, t),
        figures.score_timeseries(rows.timeseries(24), THRESHOLD, theme, t),
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("language", LANGUAGES)
def test_figures_have_only_properties_that_plotly_knows(theme: Theme, empty: bool, language: Language) -> None:
    """`go.Figure` raises on properties and values that plotly.js would silently ignore."""
    for figure in build(FakeQueries(empty=empty), theme, catalogue(language)):
        go.Figure(data=figure.data, layout=figure.layout)
        assert figure.empty is empty
        assert figure.summary.endswith(".")


def test_texts_contain_no_other_tags_than_br_and_extra() -> None:
    """Plotly turns other tags into style attributes, which the page's policy forbids."""
    for figure in build(FakeQueries(), "light"):
        tags = re.findall(r"</?[a-z]+", json.dumps([figure.data, figure.layout]))
        assert set(tags) <= {"<br", "<extra", "</extra"}


def test_each_side_of_the_threshold_has_its_colour() -> None:
    palette = figures.PALETTES["light"]
    figure = figures.score_histogram(FakeQueries().histogram(), "light", EN)
    below, above = figure.data
    assert (below["marker"]["color"], above["marker"]["color"]) == (palette.below, palette.accepted)
    assert max(below["x"]) < THRESHOLD < min(above["x"])
    assert (sum(below["y"]), sum(above["y"])) == (3, 6)


def test_shares_are_formatted_for_the_language() -> None:
    figure = figures.attempts(FakeQueries().statistics(), "light", catalogue("es"))
    assert figure.data[0]["text"] == ["60,0\u00a0%", "40,0\u00a0%"]
    figure = figures.score_ranges(FakeQueries().histogram(), "light", catalogue("es"))
    assert figure.layout["yaxis"]["ticksuffix"] == "\u00a0%"
    assert "66,7\u00a0%" in figure.data[1]["text"]


def test_ranges_are_shares_of_scored_answers() -> None:
    figure = figures.score_ranges(FakeQueries().histogram(), "light", EN)
    assert sum(sum(trace["y"]) for trace in figure.data) == pytest.approx(100)
    assert [label for trace in figure.data for label in trace["x"]] == figure.layout["xaxis"]["categoryarray"]
    assert figure.summary == "66.7% of 9 scored answers are at or above the threshold of 0.48, 33.3% below it."


def test_attempts_are_a_doughnut() -> None:
    figure = figures.attempts(FakeQueries().statistics(), "light", EN)
    assert figure.data[0]["hole"] > 0
    assert figure.data[0]["labels"] == ["1 attempt", "3 attempts"]
    assert figure.data[0]["values"] == [6, 4]


def test_improvement_states_gain_and_interval() -> None:
    figure = figures.improvement(FakeQueries().improvement(), THRESHOLD, "light", EN)
    first, kept = figure.data
    assert (first["y"], kept["y"]) == ([0.6, 0.35], [0.6, 0.45])
    assert "a gain of +0.100 (95% confidence interval +0.090 to +0.110)" in figure.summary


def test_improvement_without_regenerated_questions_states_no_gain() -> None:
    rows = Improvement(
        by_attempts=[AttemptScore(attempts=1, count=5, mean_score=0.6, mean_first_score=0.6)],
        regenerated=queries.regeneration(NO_PAIRS),
    )
    figure = figures.improvement(rows, THRESHOLD, "light", EN)
    assert not figure.empty
    assert figure.summary == "No question has been asked a second time yet."


def test_one_regenerated_question_has_no_interval() -> None:
    rows = FakeQueries().improvement()
    one = rows.model_copy(update={"regenerated": queries.regeneration(PAIRS | {"count": 1, "deviation": None})})
    assert "(one question)" in figures.improvement(one, THRESHOLD, "light", EN).summary


def test_a_long_gap_breaks_the_line_and_a_short_one_does_not() -> None:
    starts = [NOW, NOW + timedelta(minutes=60), NOW + timedelta(minutes=125)]
    rows = Timeseries(
        since=NOW,
        until=starts[-1],
        hours=24,
        bucket_seconds=300,
        points=[Point(start=start, mean_score=0.5, count=1) for start in starts],
    )
    trace = figures.score_timeseries(rows, THRESHOLD, "light", EN).data[0]
    assert trace["y"] == [0.5, 0.5, None, 0.5]
    assert trace["x"][2] == "2026-03-04T13:35:00"


def test_the_series_states_the_mean_of_answers_not_of_buckets() -> None:
    points = [Point(start=NOW, mean_score=0.2, count=1), Point(start=NOW, mean_score=0.6, count=3)]
    rows = Timeseries(since=NOW, until=NOW, hours=24, bucket_seconds=60, points=points)
    assert "4 scored answers" in figures.score_timeseries(rows, THRESHOLD, "light", EN).summary
    assert (
        "with a mean of 0.500; one point for each minute."
        in figures.score_timeseries(rows, THRESHOLD, "light", EN).summary
    )


def test_threshold_and_chance_are_marked() -> None:
    shapes = figures.score_histogram(FakeQueries().histogram(), "light", EN).layout["shapes"]
    assert [each["x0"] for each in shapes] == [THRESHOLD, CHANCE_SCORE]


def test_a_histogram_with_all_answers_on_one_side_is_valid() -> None:
    for counts in ({-4: 2}, {3: 2}):
        figure = figures.score_histogram(buckets.histogram(THRESHOLD, counts), "dark", EN)
        go.Figure(data=figure.data, layout=figure.layout)


@pytest.mark.parametrize(("theme", "surface"), [("light", "#ffffff"), ("dark", "#1a2129")])
def test_colours_have_enough_contrast(theme: Theme, surface: str) -> None:
    palette = figures.PALETTES[theme]
    assert palette.surface == surface
    for text in (palette.text, palette.muted):
        assert contrast(text, surface) >= 4.5
    for shape in (palette.accepted, palette.below, palette.neutral):
        assert contrast(shape, surface) >= 3


def contrast(one: str, other: str) -> float:
    """Returns the contrast ratio of two colours as WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_green_and_amber_differ_for_the_colour_blind(theme: Theme) -> None:
    """They differ in lightness, which is visible with every kind of colour blindness."""
    palette = figures.PALETTES[theme]
    assert contrast(palette.accepted, palette.below) >= 1.4
