"""The check of the judge on real sockets."""

import json

import pytest
from werkzeug import Response

from judge_service import check_judge
from judge_service.check_judge import WRONG
from tests.unit.judge_service.samples import completion, token

PATH = "/v1/chat/completions"
KEY = "sk-very-secret"


@pytest.fixture
def check(monkeypatch, capsys, httpserver):
    def run(**environment):
        values = {
            "JUDGE_MODEL": "judge-1",
            "JUDGE_BASE_URL": httpserver.url_for("/v1"),
            "JUDGE_API_KEY": KEY,
            "JUDGE_TIMEOUT": "1",
            **environment,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            check_judge.main()
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return ended.value.code, printed.out

    return run


def answering(right, wrong):
    """Returns a handler that replies differently to the right and to the wrong answer."""
    return lambda request: Response(json.dumps(wrong if WRONG.encode() in request.data else right))


def test_a_working_judge_passes_the_check(check, httpserver):
    right, wrong = completion("A", [token("A", 0.9, B=0.1)]), completion("B", [token("B", 0.8, A=0.2)])
    httpserver.expect_request(PATH).respond_with_handler(answering(right, wrong))
    status, output = check(LLM_PRICES="judge-1=1/2")
    assert status == 0
    assert "works: a right answer is right with 0.90, a wrong one with 0.20" in output
    assert "210 tokens in, 1 out; cost 0.000212000" in output
    assert len(httpserver.log) == 2


def test_a_judge_that_prefers_the_wrong_answer_is_reported(check, httpserver):
    reply = completion("A", [token("A", 0.9, B=0.1)])
    httpserver.expect_request(PATH).respond_with_json(reply)
    assert "Set another JUDGE_MODEL" in check()[1]


def test_a_judge_without_probabilities_is_reported(check, httpserver):
    httpserver.expect_request(PATH).respond_with_handler(answering(completion("A"), completion("B")))
    assert "no probabilities" in check()[1]


def test_a_judge_that_is_the_answering_model_is_reported(check, httpserver):
    httpserver.expect_request(PATH).respond_with_handler(answering(completion("A"), completion("B")))
    assert "may not see its own errors" in check(LLM_BASE_URL=httpserver.url_for("/v1"), LLM_MODEL="judge-1")[1]


def test_a_judge_that_does_not_work_is_explained_with_its_own_settings(check, httpserver):
    httpserver.expect_request(PATH).respond_with_json({"error": {"message": f"invalid key {KEY}"}}, 401)
    status, output = check()
    assert status == 1
    assert "does not accept the key (HTTP 401)" in output
    assert "JUDGE_API_KEY" in output
    assert "LLM_" not in output


def test_without_a_judge_the_check_passes(check, httpserver):
    assert check(JUDGE_MODEL="") == (0, "no judge: JUDGE_MODEL is empty\n")
    assert not httpserver.log
