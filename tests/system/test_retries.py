"""Retries happen when they are due, not earlier and not behind longer waits; rate limits use up no retries."""

import time
import uuid
from datetime import UTC, datetime

import confluent_kafka

from pipeline import topics
from pipeline.delays import OVERLOAD, QUOTA
from pipeline.messages import ProviderError, RetryableFailure
from tests.fleet import API, CLIENT, eventually, follow
from tests.unit import samples

REFERENCE = "Water boils at one hundred degrees Celsius at sea level."


def failed_calls(kind, count, delays):
    """Makes failed calls of questions that were never asked, with 0, 1, 2, 0, … earlier retries.

    They have no reference, so that their answers are not scored and regenerated.
    """
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # the precision of messages and of the broker's clock
    made = []
    for number in range(count):
        question = samples.question(
            question_text=f"retry {uuid.uuid4()}",
            original_answer=None,
            asked_at=now,
            retry_count=number % len(delays.seconds),
        )
        error = ProviderError(type=kind, status_code=503, message="made by a test")
        made.append(question.convert_to(RetryableFailure, error=error, failed_at=now))
    return made


def republished(ids, seconds):
    """Reads `questions-pending` until all these questions are there; returns (retry_count, time) by id."""
    deadline, found = time.monotonic() + seconds, {}
    for batch in follow(topics.QUESTIONS_PENDING):
        for each in batch:
            if each.question_id in ids:
                assert each.question_id not in found, "asked again twice"
                found[each.question_id] = (each.document["retry_count"], each.at)
        if len(found) == len(ids) or time.monotonic() > deadline:
            break
    return found


def test_retries_happen_when_due_even_if_the_consumer_is_killed(fleet, scripted):
    """200 mixed waits of 2, 4 and 8 s in one partition, and 1,000 waits of 60 s whose consumer is killed."""
    calls = [(topics.ERROR_OVERLOAD, OVERLOAD, failed_calls("overload", 200, OVERLOAD))]
    calls += [(topics.ERROR_QUOTA, QUOTA, failed_calls("quota", 1000, QUOTA))]
    producer = confluent_kafka.Producer({**CLIENT})
    for topic, _, made in calls:
        for each in made:
            producer.produce(topic, each.to_bytes(), each.question_id.encode(), partition=0)
            producer.poll(0)
    assert producer.flush(20) == 0

    due = {
        each.question_id: (each.retry_count + 1, delays.due_at(each, chance=0))
        for _, delays, made in calls
        for each in made
    }
    short, long = ({each.question_id for each in made} for _, _, made in calls)
    found = republished(short, 60)
    # By now the consumer has read the others and holds them in memory.
    killed = fleet.container("retry-quota-consumer")
    killed.kill()
    killed.start()
    found |= republished(long, 120)
    assert found.keys() == due.keys()
    late = {}
    for question_id, (retry_count, at) in found.items():
        assert retry_count == due[question_id][0]
        late[question_id] = at - due[question_id][1].timestamp()
    for topic, _, made in calls:
        waits = sorted(late[each.question_id] for each in made)
        print(
            f"{topic}: {len(waits)} waits, late by p50 {waits[len(waits) // 2]:.2f} s, "
            f"p99 {waits[len(waits) * 99 // 100]:.2f} s, at most {waits[-1]:.2f} s"
        )
        assert waits[0] >= 0, "asked again before it was due"
        # Generous for a busy machine; waits that block each other would be late by far more.
        assert waits[-1] < 15


def limited():
    """Returns the providers that currently admit no call."""
    found = API.get("/providers", dict)["providers"]
    return [each for each in found if each["state"] == "limited"]


def test_a_quota_error_with_retry_after_pauses_all_calls(fleet, scripted, unique):
    held_questions = [unique(f"Is number {number} held back?") for number in range(5)]
    first = unique("Who finds the quota exhausted?")
    seconds = 8
    scripted.script(first, (429, {"Retry-After": str(seconds)}, "quota exceeded"), REFERENCE)
    for text in held_questions:
        scripted.script(text, REFERENCE)
    fleet.ask(first, REFERENCE)
    eventually(lambda: scripted.calls(first), "the provider refused", 20)
    refused_at = time.monotonic()
    [provider] = eventually(limited, "the provider is reported as limited", 10)
    assert (provider["provider"], provider["cause"], provider["message"]) == (
        scripted.base_url,
        "quota",
        "quota exceeded",
    )
    ids = [fleet.ask(text, REFERENCE).json()["question_id"] for text in held_questions]
    eventually(lambda: any(scripted.calls(text) for text in held_questions), "calls resume", seconds + 30)
    assert time.monotonic() - refused_at >= seconds - 1, "the provider was called before the wait was over"
    for question_id in ids:
        assert fleet.finish(question_id, 60)["status"] == "completed"
    assert [len(scripted.calls(text)) for text in held_questions] == [1] * len(held_questions), (
        "waiting must use up no retry"
    )
    assert not fleet.sql("SELECT * FROM call_errors WHERE question_id = ANY(%s)", ids)


def test_the_history_of_errors_is_kept(fleet, scripted, answering, unique):
    text = unique("What went wrong?")
    refused = (429, {"retry-after-ms": "100"}, "too many requests")
    scripted.script(text, (503, {}, "busy"), refused, refused, REFERENCE)
    question_id = fleet.ask(text, REFERENCE).json()["question_id"]
    assert fleet.finish(question_id, 60)["status"] == "completed"
    rows = fleet.sql("SELECT * FROM call_errors WHERE question_id = %s ORDER BY failed_at", question_id)
    assert [
        (row["attempt"], row["retry"], row["cause"], row["status_code"], row["times"], row["counts_as_retry"])
        for row in rows
    ] == [
        (1, 0, "unavailable", 503, 1, True),
        (1, 1, "rate_limit", 429, 2, False),
    ]
    assert all(row["due_at"] > row["failed_at"] for row in rows)
