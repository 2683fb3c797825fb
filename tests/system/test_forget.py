"""Questions are deleted, regenerated and corrected in the real stores, with a scripted model."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import requests

import storage_service.store
import storage_writer.store
from pipeline import postgres, topics
from pipeline.cache import Answer, Cache
from pipeline.messages import Attempt, DeadLetter, RecordPosition
from pipeline.settings import CacheSettings, PostgresSettings
from tests.fleet import API, eventually
from tests.unit import samples

REFERENCE = "Water boils at one hundred degrees Celsius at sea level."
GOOD = "Water boils at one hundred degrees Celsius at sea level."
OTHER = "At sea level water boils at one hundred degrees Celsius."
POOR = "Bananas are yellow and grow in bunches."
FAIR = "Paint dries faster when the air around it is hot."
POORER = "zxq vvk"
TABLES = ("questions", "responses", "attempts", "call_errors", "failed_questions", "dead_letters")
LONG_AGO = datetime(1970, 6, 1, tzinfo=UTC)
LONG_AGO_DAYS = 20_000
"""Age that no other row of the database has."""


def delete(question_id):
    return API.send("DELETE", f"/questions/{question_id}")


def regenerate(question_id, **body):
    return API.send("POST", f"/questions/{question_id}/regenerate", **body)


def replace_reference(question_id, reference):
    path = f"/questions/{question_id}/reference"
    return API.send("PUT", path, json={"original_answer": reference}, reply_seconds=60)


def left(fleet, question_id):
    """Returns the tables that have rows of a question."""
    counts = {
        table: fleet.sql(f"SELECT count(*) AS n FROM {table} WHERE question_id = %s", question_id)[0]["n"]
        for table in TABLES
    }
    return {table for table, count in counts.items() if count}


def answered(fleet, question_id):
    """Returns the message with the answer of a question."""
    return fleet.messages(topics.VALIDATED, lambda message: message.get("question_id") == question_id)


def replay(fleet, message):
    """Writes an answer again and waits until storage-writer has read it."""
    fleet.produce(topics.VALIDATED, message["question_id"].encode(), json.dumps(message).encode())
    eventually(lambda: fleet.lag("storage-writer", [topics.VALIDATED]) == 0, "storage-writer has read everything", 30)


@pytest.fixture
def ask_scripted(fleet, scripted, unique):
    """Returns a function that asks a new question with a script and returns its text and its final status."""

    def ask(*steps, reference=REFERENCE):
        text = unique("At what temperature does water boil?")
        scripted.script(text, *steps)
        question_id = fleet.ask(text, reference).json()["question_id"]
        return text, fleet.finish(question_id, 60)

    return ask


# --- delete -----------------------------------------------------------------------------------------------------------


def test_a_deleted_question_is_gone_from_tables_and_cache(fleet, ask_scripted):
    text, final = ask_scripted(POOR, GOOD)
    question_id = final["question_id"]
    assert fleet.ask(text).json()["status"] == "completed"
    eventually(lambda: left(fleet, question_id) == {"questions", "responses", "attempts"}, "its rows are there", 10)
    assert fleet.cache.keys(f"call:{question_id}:*")

    reply = delete(question_id)
    assert (reply.status_code, reply.content) == (204, b"")
    assert left(fleet, question_id) == set()
    assert GOOD.encode() not in (fleet.cache.get(f"answer:{question_id}") or b"")
    assert not fleet.cache.keys(f"call:{question_id}:*") + fleet.cache.keys(f"paid:{question_id}:*")
    assert API.send("GET", f"/status/{question_id}").status_code == 404
    assert delete(question_id).status_code == 404


def test_a_replayed_answer_does_not_bring_a_deleted_question_back(fleet, ask_scripted):
    _, final = ask_scripted(GOOD)
    question_id = final["question_id"]
    message = answered(fleet, question_id)
    assert delete(question_id).status_code == 204
    replay(fleet, message)
    assert left(fleet, question_id) == set()
    assert API.send("GET", f"/status/{question_id}").status_code == 404


def test_an_answer_in_flight_does_not_bring_a_deleted_question_back(fleet, scripted, unique):
    text = unique("Will you be deleted in flight?")
    scripted.script(text, GOOD)
    scripted.hold.clear()
    try:
        question_id = fleet.ask(text, REFERENCE).json()["question_id"]
        eventually(lambda: scripted.calls(text), "the model is called", 20)
        assert delete(question_id).status_code == 204
    finally:
        scripted.hold.set()
    answered(fleet, question_id)
    eventually(lambda: fleet.lag("storage-writer", [topics.VALIDATED]) == 0, "storage-writer has read everything", 30)
    assert left(fleet, question_id) == set()


def test_old_messages_do_not_affect_a_question_asked_again_after_deletion(fleet, scripted, ask_scripted):
    text, first = ask_scripted(GOOD, OTHER)
    question_id = first["question_id"]
    old = answered(fleet, question_id)
    assert delete(question_id).status_code == 204
    scripted.hold.clear()
    try:
        again = fleet.ask(text, REFERENCE)
        assert (again.status_code, again.json()["question_id"]) == (202, question_id)
        replay(fleet, old)
        assert fleet.status(question_id)["status"] == "pending"
    finally:
        scripted.hold.set()
    final = fleet.finish(question_id)
    assert final["result"]["llm_response"] == OTHER
    assert final["asked_at"] > first["asked_at"]
    assert fleet.sql("SELECT times_asked FROM questions WHERE question_id = %s", question_id) == [{"times_asked": 1}]


def test_statistics_exclude_deleted_questions(fleet, ask_scripted):
    _, final = ask_scripted(GOOD)
    assert delete(final["question_id"]).status_code == 204

    def agree():
        counts = API.get("/stats", dict)["questions"]
        rows = fleet.sql("SELECT status, count(*) AS n FROM questions GROUP BY status")
        return {status: n for status, n in counts.items() if n} == {row["status"]: row["n"] for row in rows}

    eventually(agree, "/stats agrees with the table", 20)


# --- regenerate -------------------------------------------------------------------------------------------------------


def test_a_regenerated_answer_replaces_the_old_one_when_it_is_there(fleet, scripted, ask_scripted):
    text, first = ask_scripted(GOOD, OTHER)
    question_id = first["question_id"]
    old = answered(fleet, question_id)
    scripted.hold.clear()
    try:
        reply = regenerate(question_id, json={"original_answer": OTHER})
        assert (reply.status_code, reply.json()) == (202, {"status": "pending", "question_id": question_id})
        assert regenerate(question_id).status_code == 409
        replay(fleet, old)
        state = fleet.status(question_id)
        assert (state["status"], state["result"]) == ("pending", None), (
            "a replayed old answer must not become the new one"
        )
        assert fleet.ask(text).status_code == 202, "the old answer must not be served from the cache"
        [kept] = fleet.sql("SELECT llm_response FROM responses WHERE question_id = %s", question_id)
        assert kept["llm_response"] == GOOD
    finally:
        scripted.hold.set()
    final = fleet.finish(question_id)
    assert (final["result"]["llm_response"], final["result"]["original_answer"]) == (OTHER, OTHER)
    assert final["asked_at"] > first["asked_at"]
    attempts = fleet.sql("SELECT attempt FROM attempts WHERE question_id = %s ORDER BY 1", question_id)
    assert [each["attempt"] for each in attempts] == [1]

    def served():
        reply = fleet.ask(text).json()
        return reply if reply["source"] == "cache" else None

    assert eventually(served, "the new answer is served from the cache", 10)["result"] == final["result"]


def test_a_failed_question_is_regenerated_without_a_body(fleet, ask_scripted):
    _, first = ask_scripted((400, {}, "no"), GOOD)
    assert first["status"] == "failed"
    assert regenerate(first["question_id"]).status_code == 202
    assert fleet.finish(first["question_id"])["result"]["llm_response"] == GOOD


def test_unknown_questions_are_404(fleet):
    unknown_id = "0" * 32
    for reply in (delete(unknown_id), regenerate(unknown_id), replace_reference(unknown_id, REFERENCE)):
        assert (reply.status_code, reply.headers["Content-Type"]) == (404, "application/problem+json")


# --- correct ----------------------------------------------------------------------------------------------------------


def test_another_reference_changes_all_scores_without_a_call_of_the_model(fleet, scripted, ask_scripted):
    text, first = ask_scripted(POORER, FAIR, POORER)
    question_id = first["question_id"]
    assert (first["result"]["llm_response"], first["result"]["quality"]) == (FAIR, "max_retries_reached")

    reply = replace_reference(question_id, POORER)
    assert reply.status_code == 200, reply.text
    result = reply.json()["result"]
    assert (result["llm_response"], result["original_answer"], result["quality"]) == (POORER, POORER, "accepted")
    assert result["bert_score"] == pytest.approx(1, abs=1e-4)
    assert (result["processing_attempts"], result["created_at"]) == (3, first["result"]["created_at"])
    assert len(scripted.calls(text)) == 3

    attempts = fleet.sql(
        "SELECT llm_response, bert_score FROM attempts WHERE question_id = %s ORDER BY attempt", question_id
    )
    for each in attempts:
        score = requests.post(
            "http://score-validator:8000/score",
            json={"candidate": each["llm_response"], "reference": POORER},
            timeout=30,
        ).json()["score"]
        assert float(each["bert_score"]) == pytest.approx(score, abs=1e-5)
    assert fleet.status(question_id)["result"] == result
    assert fleet.ask(text).json()["result"] == result


def test_a_low_score_with_another_reference_starts_no_regeneration(fleet, scripted, ask_scripted):
    text, first = ask_scripted(GOOD)
    reply = replace_reference(first["question_id"], POOR)
    assert reply.status_code == 200, reply.text
    state = reply.json()
    assert (state["status"], state["result"]["quality"]) == ("completed", "max_retries_reached")
    assert state["result"]["llm_response"] == GOOD
    assert len(scripted.calls(text)) == 1


def test_correcting_a_failed_question_is_409(fleet, ask_scripted):
    _, first = ask_scripted((400, {}, "no"))
    reply = replace_reference(first["question_id"], POOR)
    assert reply.status_code == 409
    assert "regenerate" in reply.json()["detail"]


# --- the stores themselves --------------------------------------------------------------------------------------------


@pytest.fixture
def pool():
    pool = postgres.engine(PostgresSettings(), "tests")
    yield pool
    pool.dispose()


@pytest.fixture
def reader(fleet, pool):
    return storage_service.store.Store(pool)


@pytest.fixture
def writer(fleet, pool):
    return storage_writer.store.Store(pool)


@pytest.fixture
def made(fleet, unique):
    """Returns a function that makes messages of answered questions that were never asked.

    All are deleted afterwards and stay listed as deleted, because the fleet may have published one again meanwhile.
    """
    ids = []

    def make(number=0, asked_at=LONG_AGO):
        attempt = Attempt(
            attempt=1,
            model="scripted",
            llm_response=GOOD,
            bert_score=0.5,
            llm_latency_ms=12,
            prompt_tokens=3,
            completion_tokens=4,
            generated_at=samples.NOW,
        )
        question = samples.question(question_text=unique(f"made {number}"), asked_at=asked_at, attempts=(attempt,))
        ids.append(question.question_id)
        return question

    yield make
    fleet.sql("SELECT forget_questions(%s)", ids)


def answer(question, created_at=LONG_AGO):
    return Answer(
        question_id=question.question_id,
        question_text=question.question_text,
        original_answer=question.original_answer,
        llm_response=GOOD,
        bert_score=0.5,
        bert_precision=0.9,
        bert_recall=0.8,
        bert_f1=0.85,
        quality="accepted",
        scorer="bertscore",
        model="scripted",
        processing_attempts=1,
        total_processing_time_ms=1234,
        created_at=created_at,
    )


def test_writes_concurrent_with_a_deletion_leave_no_rows(fleet, reader, writer, made):
    for number in range(30):
        question = made(number)
        key = question.question_id
        letter = DeadLetter.of(key.encode(), b"{", samples.SOURCE, "not JSON", samples.NOW)
        place = RecordPosition(topic="made-by-a-test", partition=number, offset=number)
        assert writer.complete(question, answer(question))
        calls = [
            *[lambda q=question: writer.complete(q, answer(q))] * 3,
            lambda q=question: writer.fail(q, "not_retryable", "no", samples.NOW),
            lambda key=key, place=place, letter=letter: writer.keep_dead_letter(place, letter, key),
            lambda key=key: reader.delete(key),
        ]
        with ThreadPoolExecutor(len(calls)) as threads:
            *_, deleted = threads.map(lambda call: call(), calls, timeout=60)
        assert deleted
        assert left(fleet, key) == set()


def test_a_question_asked_after_deletion_gets_a_later_time_than_before(reader, writer, made):
    question = made()
    assert reader.record(question).publish == question
    assert reader.delete(question.question_id)
    earlier = question.model_copy(update={"asked_at": question.asked_at - timedelta(days=1)})
    published = reader.record(earlier).publish
    assert published.asked_at == question.asked_at + timedelta(milliseconds=1)
    assert not writer.complete(question, answer(question)), "an old answer must not complete the new question"
    assert writer.complete(published, answer(published))


def test_only_questions_that_ended_long_ago_are_selected_for_deletion(fleet, reader, writer, made):
    answered_one, failed, recent, again = (made(number) for number in range(4))
    for each in (answered_one, again):
        assert writer.complete(each, answer(each))
    assert writer.fail(failed, "not_retryable", "no", LONG_AGO + timedelta(seconds=1))
    assert writer.complete(recent, answer(recent, datetime.now(UTC)))
    assert reader.regenerate(again.question_id, None, LONG_AGO).publish
    with writer.old(LONG_AGO_DAYS, 10) as old, writer.old(LONG_AGO_DAYS, 10) as another:
        assert set(old.question_ids) == {answered_one.question_id, failed.question_id}
        assert another.question_ids == [], "only one writer at a time may delete"
        old.delete()
    assert left(fleet, answered_one.question_id) | left(fleet, failed.question_id) == set()
    assert "responses" in left(fleet, recent.question_id)
    assert "questions" in left(fleet, again.question_id)


def test_a_stale_answer_is_not_put_into_the_cache_again(fleet, made):
    cache = Cache(CacheSettings(), "tests")
    stale = answer(made(), datetime.now(UTC) - timedelta(seconds=5))
    cache.put(stale)
    assert cache.get(stale.question_id) == stale
    cache.invalidate(stale.question_id)
    assert cache.get(stale.question_id) is None
    cache.put(stale)  # by a reader that fetched it before the invalidation
    assert cache.get(stale.question_id) is None
    new = stale.model_copy(update={"created_at": datetime.now(UTC) + timedelta(seconds=5)})
    cache.put(new)
    assert cache.get(stale.question_id) == new
    fleet.cache.delete(f"answer:{stale.question_id}")
