"""One question from end to end, with the real model, scorer and job."""

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import requests

from pipeline import topics
from tests.fleet import API, STORAGE, eventually, follow

REFERENCE = "Paris is the capital of France. It lies on the river Seine."


def test_a_question_is_answered_scored_and_stored(fleet, unique):
    text = unique("What is the capital of France?")
    reply = fleet.ask(text, REFERENCE)
    assert reply.status_code == 202
    question_id = reply.json()["question_id"]
    assert reply.json() == {"status": "pending", "question_id": question_id}

    result = fleet.finish(question_id)["result"]
    assert result["llm_response"]
    assert result["quality"] in ("accepted", "max_retries_reached")
    assert -1 <= result["bert_score"] <= 1
    assert result["bert_score"] not in (0, 1)

    [row] = fleet.sql("SELECT * FROM responses WHERE question_id = %s", question_id)
    assert row["llm_response"] == result["llm_response"]
    assert row["original_answer"] == REFERENCE
    attempts = fleet.sql("SELECT * FROM attempts WHERE question_id = %s ORDER BY attempt", question_id)
    assert [each["attempt"] for each in attempts] == list(range(1, row["processing_attempts"] + 1))
    assert row["bert_score"] == max(each["bert_score"] for each in attempts)
    assert all(each["llm_latency_ms"] > 0 and each["completion_tokens"] > 0 for each in attempts)
    [question] = fleet.sql("SELECT * FROM questions WHERE question_id = %s", question_id)
    assert (question["status"], question["times_asked"]) == ("completed", 1)
    assert question["published_at"] is not None

    kept = fleet.messages(topics.VALIDATED, lambda message: message.get("question_id") == question_id)
    assert Decimal(str(kept["bert_score"])).quantize(row["bert_score"]) == row["bert_score"]
    score = requests.post(
        "http://score-validator:8000/score",
        json={"candidate": row["llm_response"], "reference": REFERENCE},
        timeout=30,
    ).json()
    assert abs(score["score"] - float(row["bert_score"])) < 1e-5


def test_an_answer_is_served_from_the_cache_and_without_it_from_the_database(fleet, unique):
    text = unique("What is the largest planet?")
    question_id = fleet.ask(text, "Jupiter is the largest planet.").json()["question_id"]
    result = fleet.finish(question_id)["result"]

    def cached():
        reply = fleet.ask("  " + text.upper())
        assert reply.status_code == 200
        return reply.json() if reply.json()["source"] == "cache" else None

    again = eventually(cached, "the answer is served from the cache", 10)
    assert again["question_id"] == question_id
    assert again["result"] == result

    assert fleet.cache.delete(f"answer:{question_id}") == 1
    from_database = fleet.ask(text).json()
    assert (from_database["source"], from_database["result"]) == ("database", result)


def test_a_request_with_wait_returns_the_answer(fleet, unique):
    reply = fleet.ask(unique("How many legs does a spider have?"), "A spider has eight legs.", wait=60)
    assert reply.status_code == 200
    assert reply.json()["status"] == "completed"
    assert reply.json()["result"]["llm_response"]


def test_an_answer_without_reference_is_stored_unscored(fleet, unique):
    result = fleet.ask(unique("What is a good name for a cat?"), wait=60).json()["result"]
    assert (result["quality"], result["bert_score"], result["processing_attempts"]) == ("unscored", None, 1)


def test_events_report_the_states_of_a_question(fleet, unique):
    question_id = fleet.ask(unique("What do bees make?"), "Bees make honey.").json()["question_id"]
    event_names = []
    with requests.get(f"{STORAGE}/events/{question_id}", stream=True, timeout=120) as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        for line in stream.iter_lines(decode_unicode=True):
            if line.startswith("event:"):
                event_names.append(line.split(":", 1)[1].strip())
            if line.startswith("data:"):
                last = json.loads(line.split(":", 1)[1])
    assert event_names[0] == "pending"
    assert event_names[-1] == "completed"
    assert last["result"]["question_id"] == question_id


def test_many_concurrent_questions_are_all_completed(fleet, unique):
    texts = [unique(f"What is {number} plus {number}?") for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        ids = [reply.json()["question_id"] for reply in pool.map(lambda text: fleet.ask(text, "A number."), texts)]
    assert len(set(ids)) == 12
    assert {fleet.finish(each, 180)["status"] for each in ids} == {"completed"}
    answered, kept = (partitions_of(ids, topic) for topic in (topics.RESPONSES_SUCCESS, topics.VALIDATED))
    assert set(answered) == set(ids)
    assert answered == kept, "llm-consumer and Flink must choose the same partition for a question"


def partitions_of(question_ids, topic):
    found = {}
    for _, records in zip(range(120), follow(topic), strict=False):  # a minute at most
        found |= {each.question_id: each.partition for each in records if each.question_id in question_ids}
        if len(found) == len(question_ids):
            break
    return found


def test_statistics_are_served(fleet):
    stats = API.get("/stats", dict)
    [row] = fleet.sql("SELECT count(*) AS completed FROM questions WHERE status = 'completed'")
    assert json.dumps(stats)
    assert row["completed"] >= 1
