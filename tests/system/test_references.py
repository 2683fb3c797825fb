"""Questions with several references, with a scripted model: the best reference counts."""

import json

import pytest

from pipeline import topics
from tests.fleet import API

GOOD = "Water boils at one hundred degrees Celsius at sea level."
POOR = "Bananas are yellow and grow in bunches."
OTHER = "Penguins live in large colonies on the southern ice."
THIRD = "Trains run late when it snows."


def rows(fleet, question_id):
    [row] = fleet.sql(
        "SELECT questions.original_answer, further_references, reference_index "
        "FROM questions JOIN responses USING (question_id) WHERE question_id = %s",
        question_id,
    )
    return row["original_answer"], row["further_references"], row["reference_index"]


def test_the_second_of_two_references_counts_when_it_matches_better(fleet, scripted, ask_scripted):
    text, final = ask_scripted(GOOD, reference=OTHER, references=[GOOD])
    question_id, result = final["question_id"], final["result"]
    assert (result["quality"], result["processing_attempts"]) == ("accepted", 1)
    assert result["bert_score"] == pytest.approx(1, abs=1e-4)
    assert (result["original_answer"], result["references"], result["reference_index"]) == (OTHER, [GOOD], 1)
    assert rows(fleet, question_id) == (OTHER, [GOOD], 1)

    assert fleet.ask(text).json()["result"] == result
    message = fleet.messages(topics.VALIDATED, lambda message: message.get("question_id") == question_id)
    assert (message["references"], message["reference_index"]) == ([GOOD], 1)

    [call] = scripted.calls(text)
    assert OTHER not in json.dumps(call)
    assert GOOD not in json.dumps(call)


def test_the_index_of_the_kept_attempt_is_kept_over_a_regeneration(fleet, scripted, ask_scripted):
    text, final = ask_scripted(POOR, GOOD, reference=None, references=[OTHER, THIRD, GOOD])
    result = final["result"]
    assert (result["llm_response"], result["quality"], result["processing_attempts"]) == (GOOD, "accepted", 2)
    assert (result["original_answer"], result["references"], result["reference_index"]) == (OTHER, [THIRD, GOOD], 2)
    assert rows(fleet, final["question_id"]) == (OTHER, [THIRD, GOOD], 2)

    calls = json.dumps(scripted.calls(text))
    assert [reference in calls for reference in (OTHER, THIRD, GOOD)] == [False] * 3
    low = fleet.messages(topics.LOW_QUALITY, lambda message: message.get("question_id") == final["question_id"])
    assert (low["references"], low["reference_index"] in (0, 1, 2)) == ([THIRD, GOOD], True)


def test_references_are_replaced_together(fleet, scripted, ask_scripted):
    _text, final = ask_scripted(GOOD, reference=GOOD, references=[OTHER])
    question_id = final["question_id"]
    assert final["result"]["reference_index"] == 0
    path = f"/questions/{question_id}/reference"

    reply = API.send("PUT", path, json={"original_answer": OTHER, "references": [THIRD, GOOD]}, reply_seconds=60)
    assert reply.status_code == 200, reply.text
    result = reply.json()["result"]
    assert (result["original_answer"], result["references"], result["reference_index"]) == (OTHER, [THIRD, GOOD], 2)
    assert result["bert_score"] == pytest.approx(1, abs=1e-4)
    assert rows(fleet, question_id) == (OTHER, [THIRD, GOOD], 2)
    assert fleet.status(question_id)["result"] == result

    reply = API.send("PUT", path, json={"original_answer": GOOD}, reply_seconds=60)
    assert reply.status_code == 200, reply.text
    assert rows(fleet, question_id) == (GOOD, [], 0)
