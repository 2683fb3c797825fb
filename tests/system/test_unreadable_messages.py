"""Unreadable messages become dead letters with all their bytes and do not block others."""

import base64
import random
from datetime import UTC, datetime

import pytest

from pipeline import sizes, topics
from pipeline.messages import Question
from pipeline.question import question_id

READ = [topic.name for topic in topics.ALL if topic.consumers]


@pytest.mark.parametrize("topic", READ)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"poison", b""),
        (b"poison", b"{not json"),
        (b"poison", b'{"schema_version": 1, "question_id": 7, "question_text": []}'),
        (b"poison", b'{"schema_version": 99}'),
        (b"poison", b"\xff\xfe\x00\x01"),
        (None, b'{"schema_version": 1}'),
        (b"poison", None),
        (b"poison", b"x" * 900_000),
    ],
    ids=["empty", "bad json", "wrong types", "unknown version", "bad utf-8", "no key", "null", "900 kB"],
)
def test_an_unreadable_message_is_forwarded_with_its_bytes(fleet, topic, key, value):
    partition, offset = fleet.produce(topic, key, value)
    source = {"topic": topic, "partition": partition, "offset": offset}
    forwarded = fleet.messages(topics.PERMANENT, lambda message: message.get("source") == source, 30)
    assert forwarded["reason"] == "malformed"
    assert forwarded["error"]
    raw = forwarded["value_base64"]
    assert (None if raw is None else base64.b64decode(raw)) == value
    assert (None if forwarded["key_base64"] is None else base64.b64decode(forwarded["key_base64"])) == key


def test_other_questions_are_not_affected(fleet, unique):
    for topic in READ:
        fleet.produce(topic, b"poison", b"{")
    assert fleet.ask(unique("Is anybody there?"), "Yes, somebody is there.", wait=60).json()["status"] == "completed"


def test_a_question_whose_response_would_be_too_large_fails(fleet, unique):
    """The response would exceed the topic's limit: the question fails and llm-consumer continues."""
    text = unique("What is too large?")
    incompressible = base64.b64encode(random.Random(1).randbytes(785_750)).decode()
    question = Question(
        question_id=question_id(text), question_text=text, original_answer=incompressible, asked_at=datetime.now(UTC)
    )
    value = question.to_bytes()
    fits = sizes.fits(topics.QUESTIONS_PENDING, b"k" * 32, value)
    assert fits, f"{len(value)} bytes"
    before = [each.attrs["RestartCount"] for each in fleet.containers("llm-consumer")]
    partition, offset = fleet.produce(topics.QUESTIONS_PENDING, question.question_id.encode(), value)
    source = {"topic": topics.QUESTIONS_PENDING, "partition": partition, "offset": offset}
    ended = fleet.messages(topics.PERMANENT, lambda message: message.get("source") == source, 120)
    assert (ended["reason"], ended["question_id"]) == ("not_retryable", question.question_id)
    assert "too large" in ended["error"]["message"]
    assert [each.attrs["RestartCount"] for each in fleet.containers("llm-consumer")] == before
