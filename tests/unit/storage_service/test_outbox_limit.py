"""Questions accepted while the broker is unavailable, on fakes of PostgreSQL, Redis and Kafka."""

import time

import pytest

from pipeline.question import question_id
from storage_service import questions
from tests.unit.storage_service.fakes import Fleet

LIMIT = 3


@pytest.fixture
def fleet(monkeypatch):
    monkeypatch.setattr(questions, "ACKNOWLEDGED_SECONDS", 0.05)
    return Fleet(outbox_limit=LIMIT)


def ask(fleet, *numbers):
    return [fleet.ask(f"Question {number}?").status_code for number in numbers]


def stop_broker(fleet):
    """Makes the broker unavailable and asks one question, which detects it."""
    fleet.publisher.acknowledges = False
    assert ask(fleet, "that notices") == [202]


def test_the_outbox_limit_is_not_checked_while_the_broker_acknowledges(fleet):
    ask(fleet, 1, 2)
    assert fleet.records.limits == [None, None]


def test_new_questions_are_accepted_up_to_the_limit(fleet):
    stop_broker(fleet)
    assert ask(fleet, 2, 3) == [202, 202]
    refused = fleet.ask("Question 4?")
    assert (refused.status_code, refused.content_type) == (503, "application/problem+json")
    assert int(refused.headers["Retry-After"]) > 0
    assert "Kafka" in refused.json["detail"]
    assert question_id("Question 4?") not in fleet.records.rows


def test_known_questions_are_answered_while_the_outbox_is_full(fleet):
    ask(fleet, "completed", "cached", "failed")
    fleet.write_behind.write()
    for name in ("completed", "cached"):
        fleet.records.complete(question_id(f"Question {name}?"))
    fleet.ask("Question cached?")
    fleet.records.fail(question_id("Question failed?"))
    stop_broker(fleet)
    ask(fleet, 2, 3)
    assert ask(fleet, "completed", "cached", 2, 3) == [200, 200, 202, 202]
    assert ask(fleet, "failed") == [503]
    retry = fleet.client.post(f"/failed/{question_id('Question failed?')}/retry")
    assert (retry.status_code, "Retry-After" in retry.headers) == (503, True)
    assert fleet.client.get(f"/status/{question_id('Question failed?')}").json["status"] == "failed"


def test_only_the_first_reply_waits_for_an_unavailable_broker(fleet, monkeypatch):
    stop_broker(fleet)
    monkeypatch.setattr(questions, "ACKNOWLEDGED_SECONDS", 20)
    started = time.monotonic()
    assert ask(fleet, 2, 3) == [202, 202]
    assert time.monotonic() - started < 10


def test_a_failed_publication_marks_the_broker_as_unavailable(fleet):
    fleet.publisher.fail()
    ask(fleet, 1)
    fleet.publisher.acknowledges = False
    ask(fleet, 2)
    assert fleet.records.limits == [None, LIMIT]


def test_an_acknowledgement_marks_the_broker_as_available(fleet):
    held = []
    fleet.publisher.send = lambda outgoing, delivered: held.append(delivered)
    ask(fleet, 1, 2)
    held[0](None)
    ask(fleet, 3)
    assert fleet.records.limits == [None, LIMIT, None]


def test_questions_are_accepted_again_after_the_outbox_is_published(fleet):
    stop_broker(fleet)
    assert ask(fleet, 2, 3, 4) == [202, 202, 503]
    fleet.records.published[question_id("Question 2?")] = "by storage-writer"
    fleet.publisher.acknowledges = True
    assert ask(fleet, 4, 5) == [202, 202]
    assert fleet.records.limits[-1] is None
