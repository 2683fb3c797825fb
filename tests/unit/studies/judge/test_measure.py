"""The measurement with fakes of both services over HTTP."""

import asyncio

import pytest

from studies.answers.labelled import LabelledAnswer
from studies.judge.measure import measure_all
from studies.judge.results import read_results

ANSWERS = [
    LabelledAnswer("m", "0123456789abcdef0123456789abcdef", "Why?", "Because.", attempt, text, ("right",) * 3)
    for attempt, text in ((1, "Because."), (2, "No idea."))
]
SCORE = {"score": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5, "scorer": "fake"}


@pytest.fixture
def measure(httpserver, tmp_path):
    httpserver.expect_request("/score").respond_with_json(SCORE)
    url, file = httpserver.url_for(""), tmp_path / "results.csv"

    def run(answers, judge="judge"):
        httpserver.clear_log()
        httpserver.expect_request("/judge").respond_with_json(
            {"probability": 0.75, "problem": None, "model": judge, "prompt_tokens": 90, "completion_tokens": 1}
        )
        results = asyncio.run(measure_all(answers, url, url, file))
        assert sorted(read_results(file)) == sorted(each._replace(seconds=round(each.seconds, 6)) for each in results)
        return results, sum(request.path == "/judge" for request, _ in httpserver.log)

    return run


def test_each_answer_gets_its_score_and_judgement(measure):
    results, calls = measure(ANSWERS)
    assert calls == 2
    assert {(each.attempt, each.score, each.probability, each.tokens) for each in results} == {
        (1, 0.5, 0.75, 91),
        (2, 0.5, 0.75, 91),
    }


def test_a_second_run_asks_only_what_is_left_and_which_judge_it_is(measure):
    measure(ANSWERS[:1])
    results, calls = measure(ANSWERS)
    assert (len(results), calls) == (2, 2)


def test_an_answer_that_is_rejected_ends_the_run(measure, httpserver):
    httpserver.clear()
    httpserver.expect_request("/score").respond_with_json({"title": "too long"}, status=413)
    httpserver.expect_request("/judge").respond_with_json({"probability": 1, "model": "m"})
    with pytest.raises(ValueError, match=r"attempt 1 of 0123.* was rejected: too long"):
        measure(ANSWERS[:1])
