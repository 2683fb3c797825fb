"""The routes of the API, on fake queries instead of a database."""

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import get_args

import pytest
from flask.testing import FlaskClient

from pipeline.provider_status import ProviderStatus
from tests.unit.viz_service.fakes import (
    KNOWN,
    LIMITED,
    NOW,
    SCRIPT,
    UNKNOWN,
    FakeQueries,
    FakeState,
    client_for,
    question,
)
from viz_service.pages import CHARTS
from viz_service.pipeline_state import Sample
from viz_service.queries import TooManyQuestions
from viz_service.schemas import AttemptJudge, FigureName, Judge

DATA = (
    "/api/statistics",
    "/api/scores/timeseries",
    "/api/scores/histogram",
    "/api/quality/improvement",
    "/api/questions/top",
    "/api/questions",
    "/api/dead-letters",
    "/api/what-if?threshold=0.5",
)
FIGURES = tuple(f"/api/figures/{name}" for name in get_args(FigureName))
PROBLEM = "application/problem+json"


@pytest.mark.parametrize("path", DATA + FIGURES)
def test_replies_are_json_with_no_store(client: FlaskClient, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200
    assert reply.mimetype == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [*DATA, *FIGURES, "/api/overview", "/api/pipeline", "/questions.csv"])
def test_an_empty_database_is_not_an_error(empty_client: FlaskClient, path: str) -> None:
    assert empty_client.get(path).status_code == 200


def test_empty_statistics_are_zeros_and_nulls(empty_client: FlaskClient) -> None:
    body = empty_client.get("/api/statistics").get_json()
    assert set(body["questions"].values()) == {0}
    assert body["scores"] == {"count": 0, "mean": None, "median": None, "deviation": None, "min": None, "max": None}
    assert body["attempts"] == []
    assert body["llm"]["overhead_percent"] is None
    assert {body["llm"][name] for name in ("cost", "cost_per_accepted", "cost_per_point")} == {None}


def test_costs_are_strings_so_that_they_stay_exact(client: FlaskClient) -> None:
    assert client.get("/api/statistics").get_json()["llm"]["cost_per_point"] == "0.0015"
    body = client.get(f"/api/questions/{KNOWN}").get_json()
    assert [each["cost"] for each in body["attempts"]] == [None, "0.000118400"]
    assert body["usage"] == {"prompt_tokens": 130, "completion_tokens": 80, "cost": "0.000236800"}


@pytest.mark.parametrize("path", DATA + FIGURES + ("/ready",))
def test_data_is_503_while_the_database_is_unavailable(unavailable_client: FlaskClient, path: str) -> None:
    reply = unavailable_client.get(path)
    assert reply.status_code == 503
    assert reply.mimetype == PROBLEM
    assert "PostgreSQL" in reply.get_json()["detail"]
    assert reply.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/health", "/"])
def test_health_and_page_are_200_while_the_database_is_unavailable(unavailable_client: FlaskClient, path: str) -> None:
    assert unavailable_client.get(path).status_code == 200


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
        ("/api/statistics?hours=0", "hours"),
        ("/api/what-if", "threshold"),
        ("/api/what-if?threshold=2", "threshold"),
        ("/api/what-if?threshold=nan", "threshold"),
        ("/api/questions?sort=random", "sort"),
        ("/api/questions?limit=101", "limit"),
        ("/api/questions?score_min=high", "score_min"),
        ("/api/questions/nothing", "question_id"),
        ("/questions.csv?page=2", "page"),
        ("/api/questions?page=402", "page"),
        ("/api/questions?after=yesterday", "after"),
        (f"/api/questions?after=2026-03-04T12:30:00Z~{KNOWN}&sort=best", "after"),
        ("/api/questions?after=0001-01-01T00:00:00%2B14:00~" + KNOWN, "after"),
        ("/api/dead-letters?limit=101", "limit"),
        ("/api/dead-letters?page=402", "page"),
        ("/api/dead-letters?reason=malformed", "reason"),
        ("/api/dead-letters?after=yesterday~7", "after"),
        ("/api/dead-letters?after=2026-03-04T12:30:00Z", "after"),
        ("/api/dead-letters?after=2026-03-04T12:30:00Z~0", "after"),
        (f"/api/dead-letters?after=2026-03-04T12:30:00Z~{2**63}", "after"),
        ("/api/pipeline?hours=3", "hours"),
        ("/api/figures/pie", "name"),
        ("/api/figures/attempts?theme=pink", "theme"),
        ("/api/figures/score-timeseries?hours=-1", "hours"),
    ],
)
def test_an_invalid_parameter_is_422_and_named(client: FlaskClient, path: str, field: str) -> None:
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
def test_parameters_are_passed_to_the_query(
    client: FlaskClient, rows: FakeQueries, path: str, asked: tuple[str, int]
) -> None:
    client.get(path)
    assert rows.calls == [asked]


def test_empty_fields_of_a_form_are_ignored(client: FlaskClient, rows: FakeQueries) -> None:
    query = "text=&status=&quality=&attempts=&score_min=&score_max=0.5&sort=worst&page=2"
    assert client.get(f"/api/questions?{query}").status_code == 200
    [(_, call)] = rows.calls
    assert (call.status, call.attempts, call.score_min, call.score_max) == (None, None, None, 0.5)
    assert (call.sort, call.page, call.limit) == ("worst", 2, 25)


def test_a_known_question_is_returned_and_an_unknown_one_is_404(client: FlaskClient) -> None:
    assert client.get(f"/api/questions/{KNOWN}").get_json()["attempts"][1]["bert_score"] == 0.6
    missing = client.get(f"/api/questions/{UNKNOWN}")
    assert (missing.status_code, missing.mimetype) == (404, PROBLEM)


def test_csv_is_a_download_without_formulas(client: FlaskClient) -> None:
    reply = client.get("/questions.csv?status=completed")
    assert reply.mimetype == "text/csv"
    assert "attachment" in reply.headers["Content-Disposition"]
    [row] = csv.DictReader(io.StringIO(reply.get_data(as_text=True)))
    assert (row["llm_response"], row["bert_score"]) == ("'=1+1", "-0.1")


def test_a_page_number_beyond_the_limit_is_accepted_together_with_after(client: FlaskClient, rows: FakeQueries) -> None:
    reply = client.get(f"/api/questions?page=5000&after=2026-03-04T12:30:00Z~{KNOWN}")
    assert reply.status_code == 200
    [(_, call)] = rows.calls
    assert call.after == f"2026-03-04T12:30:00Z~{KNOWN}"


def test_dead_letters_have_source_reason_and_preview(client: FlaskClient) -> None:
    body = client.get("/api/dead-letters?limit=10").get_json()
    assert (body["total"], body["has_next"], body["next"]) == (60, True, "2026-03-04T12:30:00+00:00~7")
    [found] = body["dead_letters"]
    assert (found["source_topic"], found["source_partition"], found["source_offset"]) == (
        "llm-responses-success",
        2,
        1805,
    )
    assert (found["reason"], found["preview"]) == ("malformed", f"{{{SCRIPT}")


def test_dead_letters_are_paged_with_after(client: FlaskClient, rows: FakeQueries) -> None:
    assert client.get("/api/dead-letters?page=5000&after=2026-03-04T12:30:00Z~7").status_code == 200
    [(_, call)] = rows.calls
    assert call.after == "2026-03-04T12:30:00Z~7"


def test_at_most_two_exports_run_at_a_time(client: FlaskClient) -> None:
    streams = [client.get("/questions.csv", buffered=False) for _ in range(2)]
    full = client.get("/questions.csv")
    assert (full.status_code, full.headers["Retry-After"]) == (503, "5")
    for each in streams:
        each.close()
    assert client.get("/questions.csv", buffered=True).status_code == 200


def test_exports_that_fail_to_start_do_not_count_as_running(rows: FakeQueries) -> None:
    client = client_for(rows)
    rows.unavailable = True
    assert {client.get("/questions.csv").status_code for _ in range(5)} == {503}
    rows.unavailable = False
    assert client.get("/questions.csv").status_code == 200


def test_an_export_that_is_too_large_is_422_with_a_remedy(rows: FakeQueries, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many(_query: object) -> Iterator[dict[str, object]]:
        raise TooManyQuestions("narrow the filter")
        yield {}

    monkeypatch.setattr(rows, "export", too_many)
    client = client_for(rows)
    replies = [client.get("/questions.csv") for _ in range(3)]
    assert [each.status_code for each in replies] == [422] * 3
    assert "narrow the filter" in replies[0].get_json()["detail"]


def test_csv_is_503_while_the_database_is_unavailable(unavailable_client: FlaskClient) -> None:
    assert unavailable_client.get("/questions.csv").status_code == 503


def test_overview_and_pipeline_work_while_the_database_is_unavailable(unavailable_client: FlaskClient) -> None:
    overview = unavailable_client.get("/api/overview").get_json()
    assert (overview["statistics"], overview["top"]) == (None, None)
    assert [each["kind"] for each in overview["pipeline"]["alerts"]] == ["postgres-away"]
    assert unavailable_client.get("/api/pipeline").status_code == 200


def test_the_overview_has_statistics_and_the_pipeline(client: FlaskClient) -> None:
    overview = client.get("/api/overview").get_json()
    assert overview["statistics"]["llm"]["calls_per_accepted"] == pytest.approx(18 / 7)
    assert overview["pipeline"]["waiting"] is None, "there is no sample yet"
    assert overview["pipeline"]["sampled_at"] is None
    assert len(overview["pipeline"]["topics"]) == 7
    assert overview["pipeline"]["providers"] == []


def test_overview_and_pipeline_include_the_status_of_providers(rows: FakeQueries) -> None:
    observed = Sample(at=0, taken_at=NOW, providers=[ProviderStatus.model_validate(LIMITED)])
    client = client_for(rows, state=FakeState(observed))
    for pipeline in (client.get("/api/overview").get_json()["pipeline"], client.get("/api/pipeline").get_json()):
        assert pipeline["providers"] == [LIMITED]
        assert [each["kind"] for each in pipeline["alerts"]] == ["provider-limited"]


def test_a_question_includes_what_the_judge_says(client: FlaskClient, rows: FakeQueries) -> None:
    body = client.get(f"/api/questions/{KNOWN}").get_json()
    assert (body["answer"]["judge"], body["answer"]["rejected_by"], body["attempts"][0]["judge"]) == (None, None, None)
    judge = AttemptJudge(probability=0.25, problem="wrong", model="j", prompt_tokens=9, cost=Decimal("0.000012"))
    attempts = [each.model_copy(update={"judge": judge}) for each in question().attempts]
    answer = question().answer
    assert answer
    kept = Judge(probability=0.25, problem="wrong", model="j")
    rows.detail = question(attempts=attempts, answer=answer.model_copy(update={"judge": kept, "rejected_by": "judge"}))
    body = client.get(f"/api/questions/{KNOWN}").get_json()
    said = {"probability": 0.25, "problem": "wrong", "model": "j"}
    assert (body["answer"]["judge"], body["answer"]["rejected_by"]) == (said, "judge")
    took = {"prompt_tokens": 9, "completion_tokens": 0, "cost": "0.000012"}
    assert body["attempts"][0]["judge"] == said | took


def test_a_question_includes_the_causes_and_counts_of_failed_calls(client: FlaskClient, rows: FakeQueries) -> None:
    refused = question().errors[0].model_copy(update={"cause": "rate_limit", "times": 3, "counts_as_retry": False})
    rows.detail = question(errors=[*question().errors, refused])
    body = client.get(f"/api/questions/{KNOWN}").get_json()
    assert [(each["cause"], each["times"], each["counts_as_retry"]) for each in body["errors"]] == [
        ("other", 1, True),
        ("rate_limit", 3, False),
    ]
    assert [each["reasoning_tokens"] for each in body["attempts"]] == [0, 0]


@pytest.mark.parametrize(("patience", "alerted"), [(1000, False), (999, True)])
def test_an_alert_is_raised_when_a_question_is_pending_beyond_its_patience(
    rows: FakeQueries, patience: int, alerted: bool
) -> None:
    observed = FakeState(Sample(at=0, taken_at=NOW, oldest_pending_seconds=4600))
    found = client_for(rows, state=observed, llm_patience=patience).get("/api/pipeline").get_json()["alerts"]
    assert found == ([{"kind": "pending-long", "values": {"seconds": 4600}}] if alerted else [])


@pytest.mark.parametrize(("below", "alerted"), [(50, False), (51, True)])
def test_an_alert_is_raised_when_too_many_answers_are_below_the_threshold(
    rows: FakeQueries, below: int, alerted: bool
) -> None:
    rows.below_last_hour = below
    found = client_for(rows, viz_max_retries_limit=0.5).get("/api/pipeline").get_json()["alerts"]
    assert [each["kind"] for each in found] == (["max-retries"] if alerted else [])


def test_times_are_rfc_3339_in_utc(client: FlaskClient) -> None:
    assert client.get("/api/statistics").get_json()["generated_at"] == "2026-03-04T12:30:00Z"
    assert client.get("/api/scores/timeseries").get_json()["points"][0]["start"] == "2026-03-04T07:30:00Z"


def test_figures_differ_by_theme(client: FlaskClient) -> None:
    light, dark = (client.get(f"/api/figures/attempts?theme={theme}").get_json() for theme in ("light", "dark"))
    assert light["layout"]["font"]["color"] != dark["layout"]["font"]["color"]


def test_the_documentation_lists_every_endpoint(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    described = {path.split("?")[0] for path in DATA}
    actions = {
        "/api/ask",
        "/api/failed/{question_id}/retry",
        "/api/dead-letters/{letter_id}/replay",
        "/api/questions/{question_id}/events",
    }
    more = {"/api/questions/{question_id}", "/questions.csv", "/api/pipeline", "/api/overview", "/api/figures/{name}"}
    assert set(paths) == {*described, *actions, *more, "/health", "/ready", "/metrics"}
    for path in described:
        assert {"200", "422", "503"} <= set(paths[path]["get"]["responses"])
    assert client.get("/docs", follow_redirects=True).status_code == 200


def test_the_page_has_each_figure() -> None:
    assert list(CHARTS) == list(get_args(FigureName))


def test_unknown_paths_are_404_problems(client: FlaskClient) -> None:
    reply = client.get("/api/nothing")
    assert (reply.status_code, reply.mimetype) == (404, PROBLEM)
