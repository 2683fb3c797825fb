"""The service with a provider over HTTP: replies, statuses, budget, cache, log."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from structlog.testing import capture_logs
from werkzeug import Response

from judge_service.app import OFF, create_app
from judge_service.judge import MAX_FAILURES
from judge_service.notes import Notes
from judge_service.schemas import MAX_BODY_BYTES, MAX_TEXT_CHARACTERS
from pipeline.messages import Judgement
from tests.unit.judge_service.conftest import KEY
from tests.unit.judge_service.samples import BODY, completion, decisions, systemone, token

PATH = "/v1/chat/completions"
RIGHT = completion("A", [token("A", 0.8, B=0.2)])


def post(service, **changes):
    return service.client.post("/judge", json=BODY | changes)


def unavailable(reply):
    """Returns the detail and the wait of a 503."""
    assert reply.status_code == 503, reply.text
    assert reply.content_type == "application/problem+json"
    return reply.get_json()["detail"], int(reply.headers["Retry-After"])


def requests_to(httpserver):
    return [json.loads(request.data) for request, _ in httpserver.log]


# --- judgements ------------------------------------------------------------------------------------------------------


def test_a_judgement_has_probability_problem_model_tokens_and_cost(httpserver, service):
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    reply = post(service)
    assert reply.status_code == 200
    assert reply.get_json() == {
        "probability": pytest.approx(0.8),
        "problem": None,
        "model": "judge-1-2026-08-01",
        "prompt_tokens": 210,
        "completion_tokens": 1,
        "cost": "0.000214000",
    }
    assert Judgement.model_validate_json(reply.data).cost == Decimal("0.000214")
    assert httpserver.log[0][0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_model_without_a_price_has_no_cost(httpserver, make):
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    assert post(make(llm_prices="other=1/4")).get_json()["cost"] is None


@pytest.mark.parametrize(
    ("api", "path", "reply"),
    [("decisions", "/v1/decisions", decisions(0.3)), ("systemone", "/v1/systemone", systemone(0.3))],
)
def test_decision_models_are_asked_through_their_own_interface(httpserver, make, api, path, reply):
    httpserver.expect_request(path).respond_with_json(reply)
    found = post(make(judge_api=api)).get_json()
    assert (found["probability"], found["problem"]) == (0.3, "wrong")


def test_further_fields_are_sent_and_null_removes_one(httpserver, make):
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    post(make(judge_extra_body={"seed": 7, "top_logprobs": None}))
    [request] = requests_to(httpserver)
    assert request["seed"] == 7
    assert "top_logprobs" not in request


def test_a_provider_that_refuses_log_probabilities_is_asked_without_them(httpserver, service):
    def answer(request):
        if "logprobs" in json.loads(request.data):
            message = "You are not allowed to request logprobs from this model"
            return Response(json.dumps({"error": {"message": message}}), 403)
        return Response(json.dumps(completion("B")), 200)

    httpserver.expect_request(PATH).respond_with_handler(answer)
    found = post(service).get_json()
    assert (found["probability"], found["problem"]) == (0.0, "wrong")
    assert len(httpserver.log) == 2


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_an_empty_answer_is_off_topic_without_a_call(httpserver, service, answer):
    reply = post(service, answer=answer)
    assert reply.status_code == 200
    assert (reply.get_json()["probability"], reply.get_json()["problem"]) == (0.0, "off_topic")
    assert not httpserver.log
    assert not service.budget.charged


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (completion(None, refusal="I can't judge that.", usage=(100, 2)), 200),
        ({"error": {"message": "flagged by the content policy", "code": "content_filter"}}, 400),
        ({"error": {"message": "maximum context length is 2048 tokens", "code": "context_length_exceeded"}}, 400),
    ],
)
def test_an_answer_that_the_judge_never_judges_is_refused(httpserver, service, reply, status):
    httpserver.expect_request(PATH).respond_with_json(reply, status)
    found = post(service)
    assert found.status_code == 200
    assert (found.get_json()["probability"], found.get_json()["problem"]) == (None, "refused")
    assert service.admission.reported == ["answered"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(completion("I cannot say."), 200), ({"error": "internal error"}, 500), ({"error": "bad request"}, 400)],
    ids=["no verdict", "fails", "is a bad request"],
)
def test_an_answer_whose_calls_always_fail_is_refused_when_others_are_judged_between(httpserver, service, body, status):
    def reply(request):
        if b"hostile" in request.data:
            return Response(json.dumps(body), status)
        return Response(json.dumps(RIGHT))

    httpserver.expect_request(PATH).respond_with_handler(reply)
    for number in range(MAX_FAILURES):
        unavailable(post(service, answer="hostile"))
        assert post(service, answer=f"good {number}").get_json()["problem"] is None
    assert post(service, answer="hostile").get_json()["problem"] == "refused"


@pytest.mark.parametrize(("body", "status"), [(completion("I cannot say."), 200), ({"error": "down"}, 500)])
def test_no_answer_is_refused_when_no_answer_gets_a_verdict(httpserver, service, body, status):
    httpserver.expect_request(PATH).respond_with_json(body, status)
    for _ in range(2 * MAX_FAILURES):
        unavailable(post(service))


def test_an_answer_is_not_refused_because_its_calls_are_not_admitted(httpserver, service):
    def reply(request):
        limited = Response('{"error": {"message": "rate limit", "code": "rate_limit_exceeded"}}', 429)
        return limited if b"unlucky" in request.data else Response(json.dumps(RIGHT))

    httpserver.expect_request(PATH).respond_with_handler(reply)
    for number in range(2 * MAX_FAILURES):
        unavailable(post(service, answer="unlucky"))
        assert post(service, answer=f"good {number}").status_code == 200


def test_a_refusal_has_its_tokens(httpserver, service):
    httpserver.expect_request(PATH).respond_with_json(completion(None, refusal="No.", usage=(100, 2)))
    found = post(service).get_json()
    assert (found["prompt_tokens"], found["completion_tokens"], found["cost"]) == (100, 2, "0.000108000")
    assert service.budget.charged == [(102, Decimal("0.000108"))]


# --- invalid requests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"question_id": "no hex"}, "question_id"),
        ({"question_text": " "}, "question_text"),
        ({"references": []}, "references"),
        ({"references": [""]}, "references.0"),
        ({"references": ["right"] * 10}, "references"),
        ({"answer": None}, "answer"),
        ({"answer": "a" * (MAX_TEXT_CHARACTERS + 1)}, "answer"),
        ({"answer": "a\x00"}, "answer"),
        ({"question_context": 7}, "question_context"),
    ],
)
def test_an_invalid_field_is_named(httpserver, service, changes, field):
    reply = post(service, **changes)
    assert reply.status_code == 422
    assert {each["field"] for each in reply.get_json()["errors"]} == {field}
    assert not httpserver.log


def test_other_invalid_requests_are_refused(service):
    assert service.client.post("/judge", data="text").status_code == 415
    assert service.client.post("/judge", data="{", content_type="application/json").status_code == 400
    large = b'"' + b"a" * MAX_BODY_BYTES + b'"'
    assert service.client.post("/judge", data=large, content_type="application/json").status_code == 413


# --- no judgement now ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wait", "seconds"), [(7.2, 8), (0.1, 1), (None, 1), (40_000, 60)])
def test_a_call_that_is_not_admitted_is_503_with_the_wait(httpserver, service, wait, seconds):
    service.admission.waits = [wait]
    assert unavailable(post(service)) == ("no room", seconds)
    assert not httpserver.log


def test_a_short_wait_for_a_slot_happens_here(httpserver, make):
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    service = make(patience=5.0)
    service.admission.waits = [None, 0.01]
    assert post(service).status_code == 200


def test_waits_for_a_slot_end_when_the_service_stops(make):
    service = make(patience=60.0)
    service.admission.waits = [30.0] * 9
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, service)
        time.sleep(0.1)
        service.judge.release()
        assert unavailable(waiting.result(timeout=5))[0] == "no room"


def test_a_used_up_budget_is_503_without_a_call(httpserver, service):
    service.budget.closed = 30.0
    assert unavailable(post(service)) == ("the day's budget is used up", 30)
    assert not httpserver.log
    assert not service.admission.admitted


@pytest.mark.parametrize(
    ("status", "message", "headers", "seconds", "outcome"),
    [
        (429, "Rate limit reached", {"Retry-After": "9"}, 9, "refused"),
        (429, "You exceeded your current quota, please check your plan and billing details", {}, 5, "refused"),
        (402, "Payment required", {}, 5, "refused"),
        (503, "overloaded", {}, 5, "failed"),
    ],
)
def test_an_unavailable_provider_is_503(httpserver, service, status, message, headers, seconds, outcome):
    body = {"error": {"message": message}}
    httpserver.expect_request(PATH).respond_with_json(body, status, headers=headers)
    with capture_logs() as logs:
        detail, wait = unavailable(post(service))
    assert message in detail
    assert wait == seconds
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["failed to get a judgement"]
    assert service.admission.reported == [outcome]


@pytest.mark.parametrize(
    "reply",
    [completion("I cannot say.", usage=(210, 3)), completion("", usage=(210, 3)), {"choices": "x"}],
)
def test_a_reply_without_a_verdict_is_503_and_not_cached(httpserver, service, reply):
    httpserver.expect_request(PATH).respond_with_json(reply)
    _, seconds = unavailable(post(service))
    assert seconds == 60
    assert not service.cache
    assert service.budget.charged == ([(213, Decimal("0.000222"))] if "usage" in reply else [])


def test_the_advice_about_tokens_names_the_settings_of_the_judge(httpserver, service):
    httpserver.expect_request(PATH).respond_with_json(completion("<think>Hm", finish_reason="length"))
    detail, _ = unavailable(post(service))
    assert "JUDGE_MAX_TOKENS" in detail
    assert "LLM_" not in detail


@pytest.mark.parametrize(
    ("status", "message", "cause"),
    [
        (401, "Incorrect API key provided", "key"),
        (404, "The model `judge-1` does not exist", "model"),
        (403, "Unsupported country", "access"),
        (400, "Unsupported parameter: 'messages'", "field"),
        (404, "Not Found", "other"),
    ],
)
def test_wrong_settings_are_503_and_logged_once_until_calls_succeed(httpserver, service, status, message, cause):
    for reply, code in (({"error": {"message": message}}, status),) * 2 + ((RIGHT, 200),):
        httpserver.expect_ordered_request(PATH).respond_with_json(reply, code)
    with capture_logs() as logs:
        for _ in range(2):
            detail, seconds = unavailable(post(service))
            assert message in detail
            assert seconds == 60
        [error] = [each for each in logs if each["log_level"] == "error"]
        assert (error["cause"], error["question_id"]) == (cause, BODY["question_id"])
        assert message in error["error"]
        [note] = service.client.get("/health").get_json()["notes"]
        assert message in note
        assert post(service).status_code == 200
    assert next(each["event"] for each in logs if each["log_level"] == "info") == "the judge answers again"
    assert service.client.get("/health").get_json()["notes"] == []


def test_a_model_that_is_no_decision_model_does_not_count_as_an_outage(httpserver, make):
    body = {"error": {"code": 501, "message": "This model is not a decision model", "type": "not_supported_error"}}
    httpserver.expect_request("/v1/systemone").respond_with_json(body, 501)
    service = make(judge_api="systemone")
    detail, seconds = unavailable(post(service))
    assert "judge-1 is no decision model (JUDGE_API)" in detail
    assert seconds == 60
    assert service.admission.reported == ["answered"]


def test_no_message_contains_the_key(httpserver, service):
    httpserver.expect_request(PATH).respond_with_json({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)
    detail, _ = unavailable(post(service))
    assert KEY not in detail


# --- cost ------------------------------------------------------------------------------------------------------------


def test_the_budget_counts_each_call(httpserver, service):
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    post(service)
    assert service.budget.charged == [(211, Decimal("0.000214"))]


def test_the_budget_counts_the_maximum_for_a_provider_that_reports_no_usage(httpserver, service):
    reply = dict(RIGHT)
    del reply["usage"]
    httpserver.expect_request(PATH).respond_with_json(reply)
    found = post(service).get_json()
    assert (found["prompt_tokens"], found["completion_tokens"], found["cost"]) == (0, 0, None)
    [(tokens, cost)] = service.budget.charged
    assert tokens > 1_000
    assert cost == tokens * Decimal(4) / 1_000_000


def test_a_repeated_call_costs_nothing_and_has_its_tokens(httpserver, service):
    httpserver.expect_oneshot_request(PATH).respond_with_json(RIGHT)
    first = post(service).get_json()
    assert post(service, question_id="f" * 32).get_json() == first
    assert len(httpserver.log) == 1
    assert len(service.budget.charged) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"question_text": "Why?"},
        {"question_context": "On Mars."},
        {"references": ["Red dust."]},
        {"references": [BODY["references"][0], "Red dust."]},
        {"answer": "Because of dust."},
    ],
)
def test_another_question_reference_or_answer_is_another_call(httpserver, service, changes):
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    post(service)
    post(service, **changes)
    assert len(httpserver.log) == 2


def test_a_copy_of_a_running_call_has_to_wait(httpserver, service):
    started, finish = threading.Event(), threading.Event()

    def answer(request):
        started.set()
        finish.wait(5)
        return Response(json.dumps(RIGHT))

    httpserver.expect_request(PATH).respond_with_handler(answer)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(post, service)
        assert started.wait(5)
        assert unavailable(post(service)) == ("this call is being made", 1)
        finish.set()
        assert first.result(timeout=5).status_code == 200
    assert post(service).status_code == 200
    assert len(httpserver.log) == 1


def test_a_running_call_ends_with_the_service(httpserver, service):
    started, finish = threading.Event(), threading.Event()

    def answer(request):
        started.set()
        finish.wait(5)
        return Response(json.dumps(RIGHT))

    httpserver.expect_request(PATH).respond_with_handler(answer)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(post, service)
        assert started.wait(5)
        service.judge.close()
        assert unavailable(running.result(timeout=5))[0] == "this process stops"
        finish.set()
    assert service.admission.reported == ["abandoned"]


# --- the service -----------------------------------------------------------------------------------------------------


def metric(client, name):
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    return 0.0


def test_metrics_count_calls_tokens_and_cost(httpserver, service):
    names = {
        'judge_calls_total{outcome="judgement"}': 1,
        'judge_calls_total{outcome="spared"}': 1,
        'judge_tokens_total{kind="prompt"}': 210,
        'judge_tokens_total{kind="completion"}': 1,
        'judge_cost_total{model="judge-1"}': pytest.approx(0.000214),
        "judge_call_seconds_count": 1,
    }
    before = {name: metric(service.client, name) for name in names}
    httpserver.expect_request(PATH).respond_with_json(RIGHT)
    post(service)
    post(service)
    assert {name: metric(service.client, name) - before[name] for name in names} == names


@pytest.fixture
def off():
    return create_app(None, Notes(), lambda: None).test_client()


def test_without_a_model_the_service_is_healthy_and_says_that_it_is_off(off):
    assert off.get("/health").get_json()["notes"] == [OFF]
    assert off.get("/ready").status_code == 200
    detail, seconds = unavailable(off.post("/judge", json=BODY))
    assert (detail, seconds) == (OFF, 60)


def test_without_redis_the_service_is_ready_but_degraded(service):
    def down():
        raise ConnectionError("refused")

    client = create_app(service.judge, Notes(), down).test_client()
    ready = client.get("/ready")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")


def test_the_document_of_the_api_describes_the_route(service):
    document = service.client.get("/openapi.json").get_json()
    assert set(document["paths"]["/judge"]["post"]["responses"]) >= {"200", "400", "413", "415", "422", "503"}
    assert "notes" in document["components"]["schemas"]["HealthWithNotes"]["properties"]
