"""What is taken while the broker is away, on fakes of PostgreSQL, Redis and Kafka."""

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


def away(fleet):
    """Takes the broker away and lets one question notice it."""
    fleet.publisher.acknowledges = False
    assert ask(fleet, "that notices") == [202]


def test_outbox_is_not_looked_at_while_the_broker_acknowledges(fleet):
    ask(fleet, 1, 2)
    assert fleet.records.limits == [None, None]


def test_new_questions_are_taken_up_to_the_limit(fleet):
    away(fleet)
    assert ask(fleet, 2, 3) == [202, 202]
    refused = fleet.ask("Question 4?")
    assert (refused.status_code, refused.content_type) == (503, "application/problem+json")
    assert int(refused.headers["Retry-After"]) > 0
    assert "Kafka" in refused.json["detail"]
    assert question_id("Question 4?") not in fleet.records.rows


def test_what_is_known_is_answered_with_a_full_outbox(fleet):
    ask(fleet, "completed", "cached", "failed")
    fleet.ledger.write()
    for name in ("completed", "cached"):
        fleet.records.complete(question_id(f"Question {name}?"))
    fleet.ask("Question cached?")
    fleet.records.fail(question_id("Question failed?"))
    away(fleet)
    ask(fleet, 2, 3)
    assert ask(fleet, "completed", "cached", 2, 3) == [200, 200, 202, 202]
    assert ask(fleet, "failed") == [503]
    retry = fleet.client.post(f"/failed/{question_id('Question failed?')}/retry")
    assert (retry.status_code, "Retry-After" in retry.headers) == (503, True)
    assert fleet.client.get(f"/status/{question_id('Question failed?')}").json["status"] == "failed"


def test_replies_wait_for_the_broker_once(fleet, monkeypatch):
    away(fleet)
    monkeypatch.setattr(questions, "ACKNOWLEDGED_SECONDS", 20)
    started = time.monotonic()
    assert ask(fleet, 2, 3) == [202, 202]
    assert time.monotonic() - started < 10


def test_failed_publication_counts_as_away(fleet):
    fleet.publisher.fail()
    ask(fleet, 1)
    fleet.publisher.acknowledges = False
    ask(fleet, 2)
    assert fleet.records.limits == [None, LIMIT]


def test_any_acknowledgement_ends_it(fleet):
    held = []
    fleet.publisher.send = lambda outgoing, delivered: held.append(delivered)
    ask(fleet, 1, 2)
    held[0](None)
    ask(fleet, 3)
    assert fleet.records.limits == [None, LIMIT, None]


def test_room_comes_back_when_questions_are_published(fleet):
    away(fleet)
    assert ask(fleet, 2, 3, 4) == [202, 202, 503]
    fleet.records.published[question_id("Question 2?")] = "by storage-writer"
    fleet.publisher.acknowledges = True
    assert ask(fleet, 4, 5) == [202, 202]
    assert fleet.records.limits[-1] is None
