"""The rules of retries and regeneration, with a scripted model."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline import topics
from tests.drills.scripts import FAIR, POOR, POORER, REFERENCE
from tests.fleet import eventually

GOOD = REFERENCE


def attempts(fleet, question_id):
    return fleet.sql("SELECT * FROM attempts WHERE question_id = %s ORDER BY attempt", question_id)


def test_a_good_first_answer_is_accepted(fleet, scripted, ask_scripted):
    text, final = ask_scripted(GOOD)
    result = final["result"]
    assert (result["quality"], result["processing_attempts"]) == ("accepted", 1)
    assert result["bert_score"] == pytest.approx(1, abs=1e-4)
    assert len(scripted.calls(text)) == 1


def test_a_bad_answer_is_regenerated_and_the_better_one_is_kept(fleet, scripted, ask_scripted):
    text, final = ask_scripted(POOR, GOOD)
    result = final["result"]
    assert (result["llm_response"], result["quality"], result["processing_attempts"]) == (GOOD, "accepted", 2)
    first, second = attempts(fleet, final["question_id"])
    assert (first["llm_response"], second["llm_response"]) == (POOR, GOOD)
    assert first["bert_score"] < second["bert_score"]

    one, two = scripted.calls(text)
    assert two["temperature"] > one["temperature"]
    assert POOR in json.dumps(two["messages"])
    assert POOR not in json.dumps(one["messages"])
    assert REFERENCE not in json.dumps([one, two])

    record = fleet.messages(topics.LOW_QUALITY, lambda message: message.get("question_id") == final["question_id"])
    assert (record["decision"], record["llm_response"]) == ("regenerate", POOR)


def test_three_bad_answers_end_with_the_best(fleet, scripted, ask_scripted):
    text, final = ask_scripted(POORER, FAIR, POORER, GOOD)
    result = final["result"]
    assert (result["quality"], result["processing_attempts"]) == ("max_retries_reached", 3)
    scores = [each["bert_score"] for each in attempts(fleet, final["question_id"])]
    assert len(scores) == 3
    assert float(max(scores)) == result["bert_score"]
    assert result["llm_response"] == FAIR
    assert len(scripted.calls(text)) == 3, "there must be no fourth call"


def test_equal_questions_in_flight_take_one_call(fleet, scripted, unique):
    text = unique("Does water boil?")
    scripted.script(text, GOOD)
    scripted.hold.clear()
    try:
        with ThreadPoolExecutor(16) as pool:
            replies = list(pool.map(lambda number: fleet.ask(text + " " * number, REFERENCE), range(16)))
        eventually(lambda: scripted.calls(text), "the model is called", 20)
        late = fleet.ask(text, REFERENCE)
    finally:
        scripted.hold.set()
    assert {reply.status_code for reply in [*replies, late]} == {202}
    [question_id] = {reply.json()["question_id"] for reply in [*replies, late]}
    assert fleet.finish(question_id)["status"] == "completed"
    assert len(scripted.calls(text)) == 1
    [row] = fleet.sql("SELECT times_asked FROM questions WHERE question_id = %s", question_id)
    assert row["times_asked"] == 17


def test_a_duplicate_of_a_message_in_flight_makes_no_call(fleet, scripted, unique):
    """The outbox publishes a message again if its acknowledgement was late, which gives duplicates in short order."""
    text = unique("Does water freeze?")
    scripted.script(text, GOOD, GOOD, GOOD)
    scripted.hold.clear()
    try:
        question_id = fleet.ask(text, REFERENCE).json()["question_id"]
        eventually(lambda: scripted.calls(text), "the model is called", 20)
        ask_scripted = fleet.messages(
            topics.QUESTIONS_PENDING, lambda message: message.get("question_id") == question_id
        )
        # The second message is another call; when it is made, the duplicate before it has been read.
        for message in (ask_scripted, ask_scripted | {"retry_count": 1}):
            fleet.produce(topics.QUESTIONS_PENDING, question_id.encode(), json.dumps(message).encode())
        eventually(lambda: len(scripted.calls(text)) > 1, "the model is called for the last one", 20)
    finally:
        scripted.hold.set()
    assert fleet.finish(question_id)["status"] == "completed"
    eventually(lambda: fleet.lag("llm-consumer", [topics.QUESTIONS_PENDING]) == 0, "the duplicate is processed", 20)
    assert len(scripted.calls(text)) == 2


def test_a_call_to_an_overloaded_provider_is_retried_after_the_delay(fleet, scripted, answering, ask_scripted):
    started = time.monotonic()
    text, final = ask_scripted((503, {}, "busy"), (503, {}, "busy"), GOOD)
    assert final["status"] == "completed"
    assert final["result"]["processing_attempts"] == 1, "an error must not count as an attempt"
    assert len(scripted.calls(text)) == 3
    assert time.monotonic() - started >= 2 + 4


def test_a_question_without_retries_left_fails_with_its_reason(fleet, scripted, answering, ask_scripted):
    text, final = ask_scripted((503, {}, "still busy"))
    assert final["status"] == "failed"
    assert final["error"]["reason"] == "retries_exhausted"
    assert "still busy" in final["error"]["last_error"]
    assert len(scripted.calls(text)) == 4


def test_a_wrong_key_fails_at_once(fleet, scripted, ask_scripted):
    text, final = ask_scripted((401, {}, '{"error": {"message": "Incorrect API key provided"}}'))
    assert (final["status"], final["error"]["reason"]) == ("failed", "not_retryable")
    assert "Incorrect API key" in final["error"]["last_error"]
    assert len(scripted.calls(text)) == 1


def test_a_quota_error_waits_in_its_own_topic(fleet, scripted, unique):
    text = unique("Is there any quota left?")
    scripted.script(text, (429, {}, '{"error": {"code": "insufficient_quota"}}'), GOOD)
    question_id = fleet.ask(text, REFERENCE).json()["question_id"]
    error = fleet.messages(topics.ERROR_QUOTA, lambda message: message.get("question_id") == question_id)
    assert (error["error"]["type"], error["error"]["status_code"]) == ("quota", 429)
    assert fleet.status(question_id)["status"] == "pending"
    assert fleet.finish(question_id, 90)["status"] == "completed"
    assert len(scripted.calls(text)) == 2


def test_the_best_answer_is_kept_when_a_regeneration_fails(fleet, scripted, ask_scripted):
    _text, final = ask_scripted(POOR, (401, {}, "the key expired"))
    assert (final["status"], final["result"]["quality"]) == ("completed", "max_retries_reached")
    assert (final["result"]["llm_response"], final["result"]["processing_attempts"]) == (POOR, 2)
    [error] = fleet.sql("SELECT * FROM call_errors WHERE question_id = %s", final["question_id"])
    assert (error["attempt"], error["cause"], error["message"]) == (2, "key", "the key expired")


def test_the_best_answer_is_kept_when_retries_are_used_up(fleet, scripted, answering, ask_scripted):
    text, final = ask_scripted(POOR, (503, {}, "still busy"))
    assert (final["status"], final["result"]["quality"]) == ("completed", "max_retries_reached")
    assert final["result"]["llm_response"] == POOR
    assert len(scripted.calls(text)) == 1 + 4


def test_a_failed_question_starts_again_when_it_is_asked_again(fleet, scripted, unique):
    text = unique("Will you fail first?")
    scripted.script(text, (400, {}, "no"), POOR, GOOD)
    question_id = fleet.ask(text, REFERENCE).json()["question_id"]
    assert fleet.finish(question_id)["status"] == "failed"
    again = fleet.ask(text, REFERENCE)
    assert (again.status_code, again.json()["question_id"]) == (202, question_id)
    final = fleet.finish(question_id)
    assert (final["status"], final["result"]["llm_response"]) == ("completed", GOOD)
    assert [each["attempt"] for each in attempts(fleet, question_id)] == [1, 2]
