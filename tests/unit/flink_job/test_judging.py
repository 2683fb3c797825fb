"""The client of judge-service against a fake one over HTTP, and of which answers it is asked."""

import asyncio

import pytest
from werkzeug import Response

from flink_job.judging import JudgeClient, is_judged
from pipeline.messages import Judgement
from pipeline.routing import BertScore, Gate
from tests.unit import samples

GATE = Gate(threshold=0.4, max_attempts=3, self_check_threshold=0.3)
JUDGEMENT = {
    "probability": 0.25,
    "problem": "wrong",
    "model": "judge",
    "prompt_tokens": 200,
    "completion_tokens": 1,
    "cost": "0.000012",
}


def judge(url, **changes):
    async def judge_once():
        client = JudgeClient(url, "judge", 4, 5, backoff_seconds=(0.01,))
        try:
            return await asyncio.wait_for(client.judge(samples.response(**changes)), 20)
        finally:
            await client.close()

    return asyncio.run(judge_once())


@pytest.mark.parametrize(
    ("when", "score", "judged"),
    [
        ("accepted", 0.39, False),
        ("accepted", 0.4, True),
        ("accepted", 0.9, True),
        ("near", 0.39, False),
        ("near", 0.4, True),
        ("near", 0.9, False),
        ("always", 0.1, True),
    ],
)
def test_the_judge_is_asked_about_the_scores_of_its_setting(when, score, judged):
    assert is_judged(samples.response(), BertScore(score, 0, 0, 0, "s"), GATE, when) is judged


def test_the_judge_is_not_asked_without_a_reference():
    assert not is_judged(samples.response(original_answer=None), BertScore(0.9, 0, 0, 0, "s"), GATE, "always")


def test_a_judgement_is_read_from_the_reply(httpserver):
    answer = samples.response(references=("Second.",), question_context="In Greece.")
    httpserver.expect_request(
        "/judge",
        method="POST",
        json={
            "question_id": answer.question_id,
            "question_text": answer.question_text,
            "question_context": "In Greece.",
            "references": ["Air scatters blue light more than red light.", "Second."],
            "answer": answer.llm_response,
        },
    ).respond_with_json(JUDGEMENT)
    found = judge(httpserver.url_for(""), references=("Second.",), question_context="In Greece.")
    assert found.model_dump(mode="json") == JUDGEMENT


@pytest.mark.parametrize(
    "reply",
    [
        Response("busy", 503, {"Retry-After": "0"}),
        Response("{}", 200),
        Response("no JSON", 200),
        Response('{"probability": 1.5, "model": "m"}', 200),
        Response('{"probability": NaN, "model": "m"}', 200),
        Response("broken", 500),
    ],
    ids=["busy", "no judgement", "no JSON", "no probability", "NaN", "broken"],
)
def test_an_answer_waits_while_the_judge_has_no_judgement(httpserver, reply):
    replies = [reply] * 6
    ready = Response('{"probability": 1, "model": "judge"}', 200)
    httpserver.expect_request("/judge").respond_with_handler(lambda _: replies.pop() if replies else ready)
    assert judge(httpserver.url_for("")) == Judgement(probability=1, model="judge")


def test_an_answer_that_judge_service_rejects_is_refused(httpserver):
    httpserver.expect_request("/judge").respond_with_json({"title": "answer: too long"}, status=422)
    assert judge(httpserver.url_for("")) == Judgement(probability=None, problem="refused", model="judge")
