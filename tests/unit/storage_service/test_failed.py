"""`GET /failed` and `POST /failed/ID/retry` on fakes of PostgreSQL, Redis and Kafka."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.question import question_id
from storage_service import questions

TEXT = "Why is the sky blue?"
ID = question_id(TEXT)
RETRY = f"/failed/{ID}/retry"


@pytest.fixture
def failed(fleet):
    fleet.ask(original_answer="Scattering.")
    fleet.records.fail(ID)
    return fleet


def test_failed_questions_are_listed(failed):
    failed.ask("Is this one pending?")
    reply = failed.client.get("/failed")
    assert reply.status_code == 200
    assert reply.json == {
        "total": 1,
        "failed": [
            {
                "question_id": ID,
                "question_text": TEXT,
                "reason": "retries_exhausted",
                "last_error": "overload 503: busy",
                "retry_count": 3,
                "failed_at": "2026-01-03T03:04:05.000Z",
            }
        ],
    }


def test_failed_questions_are_paged(failed):
    assert failed.client.get("/failed").status_code == 200
    assert (failed.records.wanted.limit, failed.records.wanted.offset) == (50, 0)
    assert failed.client.get("/failed?limit=200&offset=1").json == {"total": 1, "failed": []}


def test_filters_are_passed_on_in_utc(failed):
    query = {
        "reason": "patience_exhausted",
        "text": "50% of",
        "since": "2026-01-31T13:00:00+01:00",
        "until": "2026-02-01T00:00:00Z",
    }
    assert failed.client.get("/failed", query_string=query).status_code == 200
    wanted = failed.records.wanted
    assert (wanted.reason, wanted.text) == ("patience_exhausted", "50% of")
    assert wanted.since == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert wanted.since.utcoffset().total_seconds() == 0
    assert wanted.until == datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reason", "bored"),
        ("reason", ""),
        ("text", ""),
        ("text", "a\x00b"),
        ("text", "x" * 2001),
        ("since", "yesterday"),
        ("since", "1767225600"),
        ("since", "2026-01-31"),
        ("since", "2026-01-31T12:00:00"),
        ("since", "2026-02-30T12:00:00Z"),
        ("until", "0001-01-01T00:00:00+12:00"),
        ("until", "9999-12-31T23:00:00-12:00"),
        ("limit", "0"),
        ("limit", "201"),
        ("offset", "-1"),
        ("colour", "blue"),
    ],
)
def test_an_invalid_filter_is_422_and_named(failed, name, value):
    reply = failed.client.get("/failed", query_string={name: value})
    assert (reply.status_code, reply.content_type) == (422, "application/problem+json")
    assert [each["field"] for each in reply.json["errors"]] == [name]


def test_a_retry_starts_the_question_again(failed):
    reply = failed.client.post(RETRY)
    assert (reply.status_code, reply.json) == (202, {"status": "pending", "question_id": ID})
    assert reply.headers["Location"] == f"/status/{ID}"
    again = failed.publisher.sent[1].message
    assert (again.question_text, again.original_answer) == (TEXT, "Scattering.")
    assert (again.processing_attempts, again.retry_count) == (1, 0)
    assert again.asked_at.microsecond % 1000 == 0
    assert failed.client.get("/failed").json["total"] == 0
    failed.write_behind.write()
    assert set(failed.records.published) == {ID}


@pytest.mark.parametrize("again", [lambda fleet: fleet.client.post(RETRY), lambda fleet: fleet.ask()])
def test_a_new_start_gets_a_later_time_even_if_the_clock_was_set_back(failed, monkeypatch, again):
    first = failed.publisher.sent[0].message.asked_at
    monkeypatch.setattr(questions, "_now", lambda: first - timedelta(minutes=5))
    assert again(failed).status_code == 202
    assert failed.publisher.sent[1].message.asked_at > first
    failed.write_behind.write()
    assert set(failed.records.published) == {ID}


def test_a_second_retry_does_nothing(failed):
    failed.client.post(RETRY)
    reply = failed.client.post(RETRY)
    assert (reply.status_code, reply.json["status"], reply.json["question_text"]) == (200, "pending", TEXT)
    assert len(failed.publisher.sent) == 2


def test_concurrent_retries_start_the_question_once(failed):
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: failed.api.test_client().post(RETRY), "x" * 24))
    assert sorted(reply.status_code for reply in replies) == [200] * 23 + [202]
    assert len(failed.publisher.sent) == 2


def test_retrying_a_completed_question_does_nothing(fleet):
    fleet.ask()
    fleet.records.complete(ID)
    reply = fleet.client.post(RETRY)
    assert (reply.status_code, reply.json["status"]) == (200, "completed")
    assert reply.json["result"]["llm_response"] == "Because of scattering."
    assert len(fleet.publisher.sent) == 1


def test_unknown_ids_are_404_and_malformed_ids_422(fleet):
    reply = fleet.client.post(RETRY)
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")
    assert fleet.client.post("/failed/x/retry").json["errors"][0]["field"] == "question_id"
    assert fleet.client.get(RETRY).status_code == 405


def test_an_unavailable_database_is_503(failed):
    failed.records.unavailable = True
    for reply in (failed.client.get("/failed"), failed.client.post(RETRY)):
        assert (reply.status_code, reply.content_type) == (503, "application/problem+json")
        assert int(reply.headers["Retry-After"]) > 0
    failed.records.unavailable = False
    assert failed.client.post(RETRY).status_code == 202


def test_retries_work_while_redis_is_unavailable(failed):
    failed.answers.unavailable = True
    assert failed.client.get("/failed").json["total"] == 1
    assert failed.client.post(RETRY).status_code == 202


def test_a_failed_question_is_restarted_with_all_its_references(fleet):
    fleet.ask(original_answer="Scattering.", references=["Rayleigh."])
    fleet.records.fail(ID)
    fleet.client.post(f"/failed/{ID}/retry")
    again = fleet.publisher.sent[1].message
    assert (again.original_answer, again.references) == ("Scattering.", ("Rayleigh.",))
