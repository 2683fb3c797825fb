"""The routes, with a fake of the queries: no database is reached."""

from typing import get_args

import pytest
from flask.testing import FlaskClient

from tests.unit.viz_service.fakes import FakeQueries
from viz_service.app import CHARTS
from viz_service.schemas import FigureName

DATA = (
    "/api/statistics",
    "/api/scores/timeseries",
    "/api/scores/histogram",
    "/api/quality/improvement",
    "/api/questions/top",
)
FIGURES = tuple(f"/api/figures/{name}" for name in get_args(FigureName))
PROBLEM = "application/problem+json"


@pytest.mark.parametrize("path", DATA + FIGURES)
def test_answers_with_json_that_is_never_stored(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200
    assert reply.mimetype == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", DATA + FIGURES)
def test_an_empty_database_is_no_error(empty_client: FlaskClient, path: str) -> None:
    assert empty_client.get(path).status_code == 200


def test_empty_statistics_are_zeros_and_nulls(empty_client: FlaskClient) -> None:
    body = empty_client.get("/api/statistics").get_json()
    assert set(body["questions"].values()) == {0}
    assert body["scores"] == {"count": 0, "mean": None, "median": None, "deviation": None, "min": None, "max": None}
    assert body["attempts"] == []
    assert body["llm"]["overhead_percent"] is None


@pytest.mark.parametrize("path", DATA + FIGURES + ("/ready",))
def test_says_503_while_the_database_is_away(away_client: FlaskClient, path: str) -> None:
    reply = away_client.get(path)
    assert reply.status_code == 503
    assert reply.mimetype == PROBLEM
    assert "PostgreSQL" in reply.get_json()["detail"]
    assert reply.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/health", "/"])
def test_process_and_page_are_there_while_the_database_is_away(away_client: FlaskClient, path: str) -> None:
    assert away_client.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/scores/timeseries?hours=0", "hours"),
        ("/api/scores/timeseries?hours=169", "hours"),
        ("/api/scores/timeseries?hours=", "hours"),
        ("/api/scores/timeseries?hours=1.5", "hours"),
        ("/api/scores/timeseries?hour=3", "hour"),
        ("/api/questions/top?limit=0", "limit"),
        ("/api/questions/top?limit=101", "limit"),
        ("/api/questions/top?limit=ten", "limit"),
        ("/api/statistics?hours=3", "hours"),
        ("/api/figures/pie", "name"),
        ("/api/figures/attempts?theme=pink", "theme"),
        ("/api/figures/score-timeseries?hours=-1", "hours"),
    ],
)
def test_names_a_wrong_parameter(client: FlaskClient, path: str, field: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 422
    assert reply.mimetype == PROBLEM
    assert [error["field"] for error in reply.get_json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/api/scores/timeseries", ("hours", 24)),
        ("/api/scores/timeseries?hours=168", ("hours", 168)),
        ("/api/questions/top", ("limit", 10)),
        ("/api/questions/top?limit=100", ("limit", 100)),
        ("/api/figures/score-timeseries?hours=1", ("hours", 1)),
    ],
)
def test_hands_parameters_to_the_query(
    client: FlaskClient, rows: FakeQueries, path: str, asked: tuple[str, int]
) -> None:
    client.get(path)
    assert rows.asked == [asked]


def test_times_are_rfc_3339_in_utc(client: FlaskClient) -> None:
    assert client.get("/api/statistics").get_json()["generated_at"] == "2026-03-04T12:30:00Z"
    assert client.get("/api/scores/timeseries").get_json()["points"][0]["start"] == "2026-03-04T07:30:00Z"


def test_figures_differ_by_theme(client: FlaskClient) -> None:
    light, dark = (client.get(f"/api/figures/attempts?theme={theme}").get_json() for theme in ("light", "dark"))
    assert light["layout"]["font"]["color"] != dark["layout"]["font"]["color"]


def test_the_documentation_lists_every_endpoint(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    assert set(paths) == {*DATA, "/api/figures/{name}", "/health", "/ready", "/metrics"}
    for path in DATA:
        assert {"200", "422", "503"} <= set(paths[path]["get"]["responses"])
    assert client.get("/docs", follow_redirects=True).status_code == 200


def test_the_page_has_each_figure() -> None:
    assert [name for name, _ in CHARTS] == list(get_args(FigureName))


def test_unknown_paths_are_problems_too(client: FlaskClient) -> None:
    reply = client.get("/api/nothing")
    assert (reply.status_code, reply.mimetype) == (404, PROBLEM)
