"""Rejected messages are shown with their bytes, fail a question only on working topics, and can be replayed."""

import time
import uuid
from datetime import UTC, datetime

import pytest

from pipeline import topics
from pipeline.messages import DeadLetter, RecordPosition
from tests.fleet import API, eventually
from tests.unit import samples

REFERENCE = "Water boils at one hundred degrees Celsius at sea level."


def listed(**filters):
    reply = API.send("GET", "/dead-letters", params={"limit": 200, **filters})
    assert reply.status_code == 200, reply.text
    return reply.json()["dead_letters"]


def replay(letter):
    return API.send("POST", f"/dead-letters/{letter['id']}/replay")


def letter_from(topic, place):
    """Waits for the dead letter of a message and returns it; `place` is its partition and offset."""

    def find():
        places = (topic, *place)
        return next(
            (
                each
                for each in listed()
                if (each["source_topic"], each["source_partition"], each["source_offset"]) == places
            ),
            None,
        )

    return eventually(find, f"the dead letter of {topic} {place} is listed", 60)


@pytest.fixture
def held(fleet, scripted, unique):
    """Returns a function that asks a question whose call is held open; the model continues after the test."""
    scripted.hold.clear()

    def ask():
        text = unique("Are you still at work?")
        scripted.script(text, REFERENCE)
        question_id = fleet.ask(text, REFERENCE).json()["question_id"]
        eventually(lambda: scripted.calls(text), "the model is called", 20)
        return question_id

    yield ask
    scripted.hold.set()


def test_an_unreadable_low_quality_record_leaves_its_question_pending(fleet, scripted, held):
    question_id = held()
    place = fleet.produce(topics.LOW_QUALITY, question_id.encode(), b"{")
    letter = letter_from(topics.LOW_QUALITY, place)
    assert (letter["question_id"], letter["reason"]) == (question_id, "malformed")
    assert fleet.status(question_id)["status"] == "pending"
    scripted.hold.set()
    assert fleet.finish(question_id, 60)["status"] == "completed"


def test_an_unreadable_message_is_shown_with_its_bytes(fleet):
    before = API.get("/stats", dict)["dead_letters"]
    key, value = f"poison {uuid.uuid4()}".encode(), b"\xff{" + b"x" * 1000
    letter = letter_from(topics.QUESTIONS_PENDING, fleet.produce(topics.QUESTIONS_PENDING, key, value))
    assert (letter["key"], letter["question_id"], letter["reason"]) == (key.decode(), None, "malformed")
    assert letter["preview"] == "\ufffd{" + "x" * 498
    assert (letter["value_bytes"], letter["kept_bytes"], letter["replayed_at"]) == (1002, 1002, None)
    assert letter["error"]
    assert API.get("/stats", dict)["dead_letters"] > before
    [row] = fleet.sql("SELECT value FROM dead_letters WHERE id = %s", letter["id"])
    assert bytes(row["value"]) == value


def test_a_valid_message_is_replayed_and_processed(fleet, scripted, unique):
    """The case of a bug in a service that has been fixed: the message itself is valid."""
    question = samples.question(
        question_text=unique("Was it your fault?"), original_answer=REFERENCE, asked_at=datetime.now(UTC)
    )
    scripted.script(question.question_text, REFERENCE)
    key, value = question.question_id.encode(), question.to_bytes()
    source = RecordPosition(topic=topics.QUESTIONS_PENDING, partition=0, offset=time.time_ns() // 1000)
    rejected = DeadLetter.of(key, value, source, "KeyError: 'made by a test'", datetime.now(UTC), "internal_error")
    fleet.produce(topics.PERMANENT, key, rejected.to_bytes())
    letter = letter_from(topics.QUESTIONS_PENDING, (source.partition, source.offset))
    assert (letter["reason"], letter["question_id"]) == ("internal_error", question.question_id)
    assert letter in listed(replayed="false", reason="internal_error")

    reply = replay(letter)
    assert reply.status_code == 202, reply.text
    assert reply.json()["replayed_at"]

    def answered():
        reply = API.send("GET", f"/status/{question.question_id}")
        return reply.status_code == 200 and reply.json()["status"] == "completed"

    eventually(answered, "the replayed question is answered", 60)
    assert replay(letter).status_code == 200
    assert len(scripted.calls(question.question_text)) == 1
    assert letter["id"] in [each["id"] for each in listed(replayed="true")]


def test_a_replayed_unreadable_message_is_rejected_again_with_the_same_bytes(fleet):
    key, value = f"poison {uuid.uuid4()}".encode(), b"\xff\x00{"
    letter = letter_from(topics.QUESTIONS_PENDING, fleet.produce(topics.QUESTIONS_PENDING, key, value))
    assert replay(letter).status_code == 202
    eventually(lambda: len([each for each in listed() if each["key"] == key.decode()]) == 2, "it is listed twice", 60)
    rows = fleet.sql("SELECT key, value FROM dead_letters WHERE key = %s", key)
    assert [(bytes(row["key"]), bytes(row["value"])) for row in rows] == [(key, value)] * 2


def test_a_truncated_message_is_not_replayed(fleet):
    key = f"poison {uuid.uuid4()}".encode()
    letter = letter_from(topics.QUESTIONS_PENDING, fleet.produce(topics.QUESTIONS_PENDING, key, b"x" * 70_000))
    assert (letter["value_bytes"], letter["kept_bytes"]) == (70_000, 65_536)
    reply = replay(letter)
    assert (reply.status_code, reply.headers["Content-Type"]) == (409, "application/problem+json")
    assert "70,000" in reply.json()["detail"]


def test_a_message_of_a_final_question_is_not_replayed(fleet, scripted, held):
    question_id = held()
    place = fleet.produce(topics.QUESTIONS_PENDING, question_id.encode(), b"{")
    letter = letter_from(topics.QUESTIONS_PENDING, place)
    final = fleet.finish(question_id, 60)
    assert (final["status"], final["error"]["reason"]) == ("failed", "malformed")
    reply = replay(letter)
    assert reply.status_code == 409
    assert "/retry" in reply.json()["detail"]
    assert letter["id"] in [each["id"] for each in listed(replayed="false")]


def test_an_unknown_letter_is_404(fleet):
    assert replay({"id": 2**62}).status_code == 404
