"""The service as it is composed, without Redis."""

import pytest
from structlog.testing import capture_logs

from judge_service.__main__ import application
from judge_service.settings import JudgeSettings
from pipeline.web import BACKGROUND
from tests.unit.judge_service.samples import BODY, completion, decisions, systemone, token

NO_REDIS = "redis://127.0.0.1:1/0"
REPLIES = {
    "chat": ("/v1/chat/completions", completion("A", [token("A", 0.9, B=0.1)])),
    "decisions": ("/v1/decisions", decisions(0.9)),
    "systemone": ("/v1/systemone", systemone(0.9)),
}


@pytest.fixture
def made(httpserver):
    apps = []

    def make(**changes):
        values = {"judge_model": "judge-1", "judge_base_url": httpserver.url_for("/v1"), "redis_url": NO_REDIS}
        apps.append(application(JudgeSettings(**(values | changes))))
        return apps[-1].test_client()

    yield make
    for each in apps:
        if BACKGROUND in each.extensions:
            each.extensions[BACKGROUND].start()
            each.extensions[BACKGROUND].release()
            each.extensions[BACKGROUND].close()


@pytest.mark.parametrize("api", REPLIES)
def test_an_answer_is_judged_without_redis(httpserver, made, api):
    path, reply = REPLIES[api]
    httpserver.expect_request(path).respond_with_json(reply)
    client = made(judge_api=api)
    assert client.post("/judge", json=BODY).get_json()["probability"] == pytest.approx(0.9)
    assert client.get("/health").get_json()["notes"] == []


def test_a_judge_that_is_the_answering_model_is_logged_and_noted(httpserver, made):
    with capture_logs() as logs:
        client = made(llm_model="judge-1", llm_base_url=httpserver.url_for("/v1/"))
    assert "the judge is the answering model" in [each["event"] for each in logs if each["log_level"] == "warning"]
    [note] = client.get("/health").get_json()["notes"]
    assert note.startswith("the judge is the answering model, judge-1")


def test_a_used_up_budget_pauses_calls_and_is_noted(httpserver, made):
    path, reply = REPLIES["chat"]
    httpserver.expect_request(path).respond_with_json(reply)
    client = made(llm_budget_tokens=100)
    assert client.post("/judge", json=BODY).status_code == 200
    paused = client.post("/judge", json=BODY | {"answer": "Another one."})
    assert (paused.status_code, paused.headers["Retry-After"]) == (503, "60")
    [note] = client.get("/health").get_json()["notes"]
    assert "the day's budget is used up" in note
    assert len(httpserver.log) == 1


def test_a_provider_that_asks_for_a_pause_gets_no_call_meanwhile(httpserver, made):
    path, _ = REPLIES["chat"]
    body = {"error": {"message": "Rate limit reached"}}
    httpserver.expect_request(path).respond_with_json(body, 429, headers={"Retry-After": "25"})
    client = made()
    assert client.post("/judge", json=BODY).headers["Retry-After"] == "25"
    again = client.post("/judge", json=BODY)
    assert again.status_code == 503
    assert 20 <= int(again.headers["Retry-After"]) <= 27
    assert len(httpserver.log) == 1


def test_without_a_model_no_call_is_made(httpserver, made):
    assert made(judge_model="").post("/judge", json=BODY).status_code == 503
    assert not httpserver.log
