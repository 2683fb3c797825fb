import json

import pytest

from traffic_generator.prediction import Prediction
from traffic_generator.report import Report, Tally, percentile

PREDICTED = Prediction(asked=7, distinct=5.6, distinct_deviation=0.7)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7.0], 50, 7.0),
        ([7.0], 95, 7.0),
        ([2.0, 1.0], 50, 1.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(value) for value in range(100, 0, -1)], 50, 50.0),
        ([float(value) for value in range(100, 0, -1)], 95, 95.0),
        ([float(value) for value in range(1, 21)], 95, 19.0),
        ([1.0, 2.0, 3.0], 100, 3.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float | None) -> None:
    assert percentile(values, percent) == expected


@pytest.mark.parametrize("percent", [0, -1, 100.5])
def test_percentile_rejects_an_invalid_percentage(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile([1.0], percent)


def full_tally() -> Tally:
    tally = Tally(requested=8)
    for late in (0.0, 2.5, 0.1, 0.0, 0.0, 0.0):
        tally.sent(late)
    tally.sent(repeated=True)
    tally.answered_at_once(0.010, "cache", repeated=True)
    tally.answered_at_once(0.020, "database")
    for _ in range(3):
        tally.accepted_for_later(0.030)
    tally.answered(4.0, unseen_seconds=0.7)
    tally.since_due_seconds += [1.0, 3.0]
    tally.gave_up("failed: retries_exhausted")
    tally.went_wrong("503 Service Unavailable")
    return tally


def test_each_question_is_counted_in_one_state() -> None:
    tally = full_tally()
    assert tally.line() == "asked 7  cached 2  pending 1  completed 1  failed 1  errors 1"
    assert tally.in_flight == 1
    tally.went_wrong("404 Not Found", was_pending=True)
    assert (tally.pending, tally.errors, tally.in_flight) == (0, 2, 1)


def test_the_table_shows_counts_and_latencies() -> None:
    assert Report(full_tally(), duration_seconds=12.34, asking_seconds=2.0, predicted=PREDICTED).rows() == [
        ("asked", "7 of 8"),
        ("cached (answered at once)", "2 (cache 1, database 1)"),
        ("pending (no answer yet)", "1"),
        ("completed (answered later)", "1"),
        ("failed", "1"),
        ("errors", "1"),
        ("different questions / predicted", "6 / 5.6 ± 1.4"),
        ("hit rate / predicted", "40.0 % / 20.0 % ± 20.0"),
        ("reply p50 / p95", "30 ms / 30 ms"),
        ("reply of hits p50 / p95", "10 ms / 20 ms"),
        ("reply of misses p50 / p95", "30 ms / 30 ms"),
        ("answer p50 / p95", "4.0 s / 4.0 s"),
        ("duration", "12.3 s"),
        ("requests/s", "3.50"),
    ]


def test_an_exact_prediction_is_shown_without_a_deviation() -> None:
    rows = dict(Report(full_tally(), 1.0, 1.0, Prediction(asked=7, distinct=7.0, distinct_deviation=0.0)).rows())
    assert rows["different questions / predicted"] == "6 / 7"
    assert rows["hit rate / predicted"] == "40.0 % / 0.0 %"


def test_values_not_measured_are_shown_as_a_dash() -> None:
    tally = Tally(requested=1)
    tally.sent()
    tally.went_wrong("no connection")
    rows = dict(Report(tally, duration_seconds=1.0, asking_seconds=0.0, predicted=PREDICTED).rows())
    assert (rows["reply p50 / p95"], rows["answer p50 / p95"], rows["requests/s"]) == ("-", "-", "0.00")


def test_remarks_contain_reasons_and_lateness() -> None:
    report = Report(full_tally(), 1.0, 1.0, PREDICTED, interrupted=True, timed_out=True)
    remarks = "\n".join(report.remarks())
    assert "1 x failed: retries_exhausted" in remarks
    assert "1 x 503 Service Unavailable" in remarks
    assert "up to 2.5 s late" in remarks
    assert "counted from when they were due, reply p50 / p95 are 1.0 s / 3.0 s" in remarks
    assert "1 answered at once although new in this run" in remarks
    assert "detected up to 700 ms (p95) late" in remarks
    assert "timed out with 1 questions pending" in remarks
    assert "stopped before the end" in remarks


def test_a_good_run_has_no_remarks() -> None:
    tally = Tally(requested=1)
    tally.sent(0.2, repeated=True)
    tally.answered_at_once(0.01, "cache", repeated=True)
    assert Report(tally, 1.0, 1.0, PREDICTED).remarks() == []


def test_a_question_that_joined_a_pending_one_is_reported() -> None:
    tally = Tally(requested=1)
    tally.sent(repeated=True)
    tally.accepted_for_later(0.01, repeated=True)
    assert Report(tally, 1.0, 1.0, PREDICTED).remarks() == [
        "1 asked again while the first was pending: neither a hit nor a second call"
    ]


def test_the_number_of_reasons_shown_is_limited() -> None:
    tally = Tally()
    for number in range(8):
        tally.sent()
        tally.went_wrong(f"reason {number}")
    remarks = Report(tally, 1.0, 1.0, PREDICTED).remarks(most=5)
    assert len(remarks) == 6
    assert remarks[-1] == "and 3 other reasons"


@pytest.mark.parametrize(
    ("state", "flags", "ok"),
    [
        ("cached", {}, True),
        ("pending", {}, True),
        ("completed", {}, True),
        ("failed", {}, False),
        ("errors", {}, False),
        ("cached", {"interrupted": True}, False),
        ("pending", {"timed_out": True}, False),
    ],
)
def test_a_run_is_ok_without_failures_errors_or_interruption(state: str, flags: dict[str, bool], ok: bool) -> None:
    tally = Tally(requested=1, asked=1, **{state: 1})
    assert Report(tally, 1.0, 1.0, PREDICTED, **flags).ok is ok


def test_json_has_times_in_milliseconds_and_null_for_missing_values() -> None:
    body = json.loads(json.dumps(Report(full_tally(), 12.34, 2.0, PREDICTED).as_json()))
    assert body["reply_latency_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0, "max": 30.0}
    assert body["reply_latency_cached_ms"] == {"p50": 10.0, "p95": 20.0, "p99": 20.0, "max": 20.0}
    assert body["reply_latency_accepted_ms"] == {"p50": 30.0, "p95": 30.0, "p99": 30.0, "max": 30.0}
    assert body["answer_latency_ms"] == {"p50": 4000.0, "p95": 4000.0, "p99": 4000.0, "max": 4000.0}
    assert body["answer_unseen_ms"] == {"p50": 700.0, "p95": 700.0, "p99": 700.0, "max": 700.0}
    assert body["hits"] == {
        "rate": 0.4,
        "rate_predicted": 0.2,
        "rate_deviation": 0.1,
        "distinct": 6,
        "distinct_predicted": 5.6,
        "distinct_deviation": 0.7,
        "repeated": 1,
        "joined": 0,
        "known": 1,
    }
    assert body["cached_from"] == {"cache": 1, "database": 1}
    assert (body["accepted"], body["pending"], body["late_ms_max"], body["ok"]) == (3, 1, 2500.0, False)
    nothing = Report(Tally(), 0.0, 0.0, Prediction(asked=0, distinct=0.0, distinct_deviation=0.0)).as_json()
    assert (nothing["reply_latency_ms"], nothing["hits"]["rate"], nothing["hits"]["rate_predicted"]) == (None,) * 3
