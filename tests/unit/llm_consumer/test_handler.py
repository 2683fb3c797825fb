"""Against a scripted provider over HTTP."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from decimal import Decimal

import pytest
from werkzeug import Response as HttpResponse

from llm_consumer.handler import SAME_CALL_SECONDS, AskHandler, Provider, SelfCheck
from llm_consumer.llm import Llm
from llm_consumer.settings import LlmSettings
from pipeline import topics
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import MAX_SAMPLE_CHARACTERS, Failed, FailedCall, Response
from tests.unit import samples

PATH = "/v1/chat/completions"


def completion(text, finish_reason="stop"):
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 31, "completion_tokens": 9, "total_tokens": 40},
    }


class FakeGate:
    """Stands for the gate in Redis."""

    def __init__(self):
        self.seconds = 0.0

    def closed_seconds(self):
        return self.seconds

    def close(self, seconds):
        self.seconds = seconds


class FakeMemo(dict):
    """Stands for the memo in Redis."""

    def _key(self, question, target):
        attempt = (question.processing_attempts, question.retry_count)
        return question.question_id, question.asked_at, *attempt, target.base_url, target.model

    def recall(self, question, target):
        return self.get(self._key(question, target))

    def keep(self, question, target, outgoing):
        self[self._key(question, target)] = outgoing


class FakeBudget:
    """Stands for the day's budget."""

    def __init__(self):
        self.seconds = 0.0
        self.charged = []

    def closed_seconds(self):
        return self.seconds

    def charge(self, tokens, cost):
        self.charged.append((tokens, cost))


CALLS = ExitStack()
"""Ends the connections of all of this module's clients."""


@pytest.fixture(scope="module", autouse=True)
def connections():
    with CALLS:
        yield


def asker(base_url, gate=None, budget=None, gates=None, self_check=SelfCheck(), **more):
    settings = LlmSettings(llm_base_url=base_url, llm_timeout=1, **{"llm_extra_body": {"top_k": 40}} | more)
    gates = gates or {target.base_url: gate or FakeGate() for target in settings.targets}
    llms = [(each, CALLS.enter_context(Llm(settings, each))) for each in settings.targets]
    providers = [Provider(target, llm.ask, gates[target.base_url]) for target, llm in llms]
    handler = AskHandler(providers, FakeMemo(), budget or FakeBudget(), settings.llm_temperature, 600, self_check)

    def once(**changes):
        [outgoing] = handler(Incoming(samples.question(**changes), samples.SOURCE))
        assert outgoing.key == outgoing.message.question_id.encode()
        return outgoing

    return once


@pytest.fixture
def ask(httpserver):
    return asker(httpserver.url_for("/v1"))


def test_an_answer_becomes_a_response(httpserver, ask):
    httpserver.expect_request(PATH, method="POST").respond_with_json(completion(" Scattering. "))
    outgoing = ask(processing_attempts=2)
    message = outgoing.message
    assert outgoing.topic == topics.RESPONSES_SUCCESS
    assert isinstance(message, Response)
    assert (message.llm_response, message.model, message.finish_reason) == ("Scattering.", "scripted-model", "stop")
    assert (message.prompt_tokens, message.completion_tokens) == (31, 9)
    assert message.processing_attempts == 2
    sent = json.loads(httpserver.log[0][0].data)
    assert sent["model"] == "smollm2-135m-instruct"
    assert sent["top_k"] == 40
    assert "original_answer" not in json.dumps(sent)
    assert samples.question().original_answer not in json.dumps(sent)


def test_a_question_without_reference_brings_further_answers(httpserver):
    for text in ("Scattering.", "First.", "Second." + "x" * 5000):
        httpserver.expect_ordered_request(PATH).respond_with_json(completion(text))
    message = asker(httpserver.url_for("/v1"), self_check=SelfCheck(2, 1.0))(original_answer=None).message
    assert message.llm_response == "Scattering."
    assert [(each[:7], len(each)) for each in message.samples] == [("First.", 6), ("Second.", MAX_SAMPLE_CHARACTERS)]
    assert (message.prompt_tokens, message.completion_tokens) == (3 * 31, 3 * 9)
    sent = [json.loads(request.data) for request, _ in httpserver.log]
    assert [each["temperature"] for each in sent] == [0.7, 1.0, 1.0]
    assert sent[0]["messages"] == sent[1]["messages"]


def test_a_sample_is_never_colder_than_the_answer(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    ask_for = asker(httpserver.url_for("/v1"), self_check=SelfCheck(1, 1.0))
    ask_for(original_answer=None, processing_attempts=3)
    assert [json.loads(request.data)["temperature"] for request, _ in httpserver.log] == pytest.approx([1.1, 1.1])


def test_a_question_with_reference_brings_none(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    assert asker(httpserver.url_for("/v1"), self_check=SelfCheck(2, 1.0))().message.samples == ()
    assert len(httpserver.log) == 1


def test_a_sample_that_fails_fails_the_attempt_and_a_copy_asks_nothing(httpserver):
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("Scattering."))
    httpserver.expect_ordered_request(PATH).respond_with_data("busy", 503)
    ask_for = asker(httpserver.url_for("/v1"), self_check=SelfCheck(2, 1.0))
    outgoing = ask_for(original_answer=None)
    assert (outgoing.topic, outgoing.message.error.status_code) == (topics.ERROR_OVERLOAD, 503)
    assert ask_for(original_answer=None) == outgoing
    assert len(httpserver.log) == 2


def test_an_answer_at_the_limit_of_tokens_is_cut_at_its_last_sentence(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_json(completion("One. Two is longer tha", "length"))
    assert ask().message.llm_response == "One."


@pytest.mark.parametrize(
    ("status", "body", "headers", "topic", "wait"),
    [
        (503, "busy", {}, topics.ERROR_OVERLOAD, None),
        (429, "slow down", {"Retry-After": "3"}, topics.ERROR_OVERLOAD, 3),
        (429, "slow down", {"Retry-After": "45"}, topics.ERROR_QUOTA, 45),
        (402, "pay", {}, topics.ERROR_QUOTA, None),
    ],
)
def test_errors_that_may_get_better_go_to_their_topic(httpserver, ask, status, body, headers, topic, wait):
    httpserver.expect_request(PATH).respond_with_data(body, status, headers)
    outgoing = ask(retry_count=1)
    assert outgoing.topic == topic
    assert isinstance(outgoing.message, FailedCall)
    assert (outgoing.message.error.status_code, outgoing.message.error.retry_after_seconds) == (status, wait)
    assert outgoing.message.retry_count == 1
    [error] = outgoing.message.errors
    assert (error.attempt, error.retry, error.status_code, error.retry_after_seconds) == (1, 1, status, wait)
    assert len(httpserver.log) == 1, "retries are for topics"


def test_a_wrong_key_is_permanent(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_json({"error": {"message": "Incorrect API key"}}, 401)
    outgoing = ask()
    assert outgoing.topic == topics.PERMANENT
    assert isinstance(outgoing.message, Failed)
    assert outgoing.message.reason == "not_retryable"
    assert "Incorrect API key" in outgoing.message.error.message


def test_a_failed_call_that_comes_again_costs_no_second_call(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_data("busy", 503)
    assert ask(retry_count=1) == ask(retry_count=1)
    assert len(httpserver.log) == 1
    ask(retry_count=2)
    assert len(httpserver.log) == 2


def test_an_empty_answer_is_retried_and_then_permanent(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_json(completion("  "))
    assert ask(retry_count=2).topic == topics.ERROR_OVERLOAD
    last = ask(retry_count=3)
    assert (last.topic, last.message.reason) == (topics.PERMANENT, "not_retryable")


@pytest.mark.parametrize("body", [b"not json", b"[]", b"{}", b'{"choices": []}', b"\xff\xfe", b'{"choices": [{}]}'])
def test_garbage_with_status_200_is_overload(httpserver, ask, body):
    httpserver.expect_request(PATH).respond_with_data(body, content_type="application/json")
    outgoing = ask()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert outgoing.message.error.message.startswith("unreadable answer")


def test_a_refused_connection_is_overload():
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        outgoing = asker(f"http://127.0.0.1:{bound_but_deaf.getsockname()[1]}/v1")()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert "Connection error" in outgoing.message.error.message


def test_a_call_that_hangs_is_given_up(httpserver, ask):
    release = threading.Event()

    def hang(_request):
        release.wait(20)
        raise ConnectionError

    httpserver.expect_request(PATH).respond_with_handler(hang)
    try:
        outgoing = ask()
    finally:
        release.set()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert "timed out" in outgoing.message.error.message.lower()


def test_a_call_that_drips_is_given_up(httpserver, ask):
    """Each byte comes in time, the answer never: a time-out for each read would wait for ever."""
    stop = threading.Event()

    def drip():
        while not stop.wait(0.05):
            yield b" "

    httpserver.expect_request(PATH).respond_with_response(HttpResponse(drip(), content_type="application/json"))
    try:
        outgoing = ask()
    finally:
        stop.set()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert outgoing.message.error.message == "timed out after 1 s"


@pytest.mark.parametrize(
    ("error", "topic"),
    [
        ({"code": 429, "message": "You exceeded your current quota"}, topics.ERROR_QUOTA),
        ({"code": 503, "message": "no instance"}, topics.ERROR_OVERLOAD),
        ({"code": 401, "message": "who are you"}, topics.PERMANENT),
        ({"code": "odd", "message": "no idea"}, topics.ERROR_OVERLOAD),
    ],
)
def test_an_error_in_the_body_of_a_success_is_sorted_by_its_code(httpserver, ask, error, topic):
    httpserver.expect_request(PATH).respond_with_json({"error": error})
    outgoing = ask()
    assert outgoing.topic == topic
    assert error["message"] in outgoing.message.error.message


def test_an_answer_of_a_megabyte_is_cut_and_what_cannot_be_stored_replaced(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_json(completion("a\x00b\ud800" + "x" * 1_000_000))
    text = ask().message.llm_response
    assert text.startswith("a\ufffdb?x")
    assert len(text) == 32_000


def test_a_quota_error_with_retry_after_closes_the_gate_for_all(httpserver):
    gate = FakeGate()
    ask = asker(httpserver.url_for("/v1"), gate)
    httpserver.expect_request(PATH).respond_with_data("quota", 429, {"Retry-After": "7200"})
    assert ask().topic == topics.ERROR_QUOTA
    assert gate.seconds == 600, "no longer than RETRY_AFTER_MAX"
    with pytest.raises(Unavailable) as parked:
        ask(retry_count=1)
    assert parked.value.wait_seconds == 600
    assert len(httpserver.log) == 1, "a closed gate costs no call"


@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry-After": "3"}), (402, {})])
def test_other_errors_leave_the_gate_open(httpserver, status, headers):
    gate = FakeGate()
    httpserver.expect_request(PATH).respond_with_data("no", status, headers)
    asker(httpserver.url_for("/v1"), gate)()
    assert gate.seconds == 0


def test_a_question_that_comes_again_costs_no_second_call(httpserver):
    gate = FakeGate()
    ask = asker(httpserver.url_for("/v1"), gate)
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    first = ask(processing_attempts=2)
    gate.seconds = 30
    again = ask(processing_attempts=2)
    assert (again.topic, again.message) == (first.topic, first.message)
    assert len(httpserver.log) == 1
    gate.seconds = 0
    ask(processing_attempts=3)
    ask(processing_attempts=2, asked_at=samples.NOW + timedelta(seconds=9))
    assert len(httpserver.log) == 3, "another attempt, or a question asked anew, is another call"


def test_each_attempt_asks_its_model_at_its_address_with_its_key(httpserver):
    for path in ("/small", "/big"):
        httpserver.expect_request(f"{path}/chat/completions").respond_with_json(completion("Scattering."))
    small, big = httpserver.url_for("/small"), httpserver.url_for("/big")
    ask = asker(
        small,
        llm_models=f"small, big@{big}",
        llm_api_key="of-small",
        llm_api_keys=f"{big}=of-big",
        llm_prices="big=1/2",
    )
    costs = [ask(processing_attempts=attempt).message.cost for attempt in (1, 2, 3)]
    sent = [
        (request.path, request.headers["Authorization"], json.loads(request.data)["model"])
        for request, _ in httpserver.log
    ]
    assert sent == [
        ("/small/chat/completions", "Bearer of-small", "small"),
        ("/big/chat/completions", "Bearer of-big", "big"),
        ("/big/chat/completions", "Bearer of-big", "big"),
    ]
    assert costs == [None, Decimal("0.000049"), Decimal("0.000049")]
    assert "top_k" not in json.loads(httpserver.log[1][0].data), "what one provider adds to the API is not for another"


def test_a_closed_gate_holds_back_its_own_questions_alone(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    small, big = httpserver.url_for("/v1"), httpserver.url_for("/big")
    gates = {small: FakeGate(), big: FakeGate()}
    ask = asker(small, gates=gates, llm_models=f"small, big@{big}")
    gates[big].seconds = 40
    with pytest.raises(Unavailable) as held:
        ask(processing_attempts=2)
    assert held.value.wait_seconds == 40
    assert ask().topic == topics.RESPONSES_SUCCESS
    assert len(httpserver.log) == 1


def test_a_null_in_the_extra_body_takes_a_field_out(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    asker(httpserver.url_for("/v1"), llm_extra_body={"max_tokens": None, "max_completion_tokens": 900, "top_p": None})()
    sent = json.loads(httpserver.log[0][0].data)
    assert sent.keys() == {"model", "messages", "temperature", "max_completion_tokens"}


def test_a_budget_that_is_used_up_holds_questions_and_costs_no_call(httpserver):
    budget = FakeBudget()
    budget.seconds = 3600
    with pytest.raises(Unavailable, match="budget") as parked:
        asker(httpserver.url_for("/v1"), budget=budget)()
    assert (parked.value.wait_seconds, parked.value.told) == (3600, True)
    assert httpserver.log == []


def test_what_a_call_took_is_charged_whatever_came_of_it(httpserver):
    budget = FakeBudget()
    ask = asker(httpserver.url_for("/v1"), budget=budget, llm_prices="smollm2-135m-instruct=1/2")
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("Scattering."))
    httpserver.expect_ordered_request(PATH).respond_with_json(completion(""))
    httpserver.expect_ordered_request(PATH).respond_with_data("busy", 503)
    assert ask().message.cost == Decimal("0.000049")
    empty = ask(retry_count=1)
    assert empty.topic == topics.ERROR_OVERLOAD
    [error] = empty.message.errors
    assert (error.prompt_tokens, error.completion_tokens, error.cost) == (31, 9, Decimal("0.000049"))
    assert ask(retry_count=2).topic == topics.ERROR_OVERLOAD
    assert budget.charged == [(40, Decimal("0.000049"))] * 2


def test_a_provider_that_counts_no_tokens_is_charged_for_all_there_can_be(httpserver):
    budget = FakeBudget()
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering.") | {"usage": None})
    answer = asker(httpserver.url_for("/v1"), budget=budget, llm_prices="smollm2-135m-instruct=1/2")().message
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost) == (0, 0, None)
    [(tokens, cost)] = budget.charged
    sent = json.loads(httpserver.log[0][0].data)["messages"]
    assert tokens == sum(len(each["content"]) for each in sent) + len("Scattering.")
    assert cost == tokens * Decimal("0.000002")


def test_what_a_model_thinks_is_counted_where_the_total_alone_has_it(httpserver, ask):
    usage = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering.") | {"usage": usage})
    message = ask().message
    assert (message.prompt_tokens, message.completion_tokens) == (20, 603)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": "many", "total_tokens": None}, {"completion_tokens": -1}])
def test_usage_that_makes_no_sense_counts_nothing(httpserver, ask, usage):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering.") | {"usage": usage})
    message = ask().message
    assert (message.prompt_tokens, message.completion_tokens) == (0, 0)


def test_a_copy_of_a_call_in_flight_waits_and_asks_nothing(httpserver, ask):
    came, may_answer = threading.Event(), threading.Event()

    def slowly(_request):
        came.set()
        assert may_answer.wait(20)
        return HttpResponse(json.dumps(completion("Scattering.")), content_type="application/json")

    httpserver.expect_request(PATH).respond_with_handler(slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        try:
            assert came.wait(20)
            with pytest.raises(Unavailable, match="is being made") as put_off:
                ask()
        finally:
            may_answer.set()
        answered = first.result(20)
    assert (put_off.value.wait_seconds, put_off.value.told) == (SAME_CALL_SECONDS, True)
    assert ask() == answered
    assert len(httpserver.log) == 1


def test_a_call_that_fails_lets_its_copies_go_on(httpserver):
    gate = FakeGate()
    gate.seconds = 3.0
    ask_for = asker(httpserver.url_for("/v1"), gate)
    for _ in range(2):
        with pytest.raises(Unavailable, match="left alone"):
            ask_for()
