"""The handler with a scripted provider over HTTP."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from decimal import Decimal

import pytest
from werkzeug import Response as HttpResponse

from llm_consumer.handler import SAME_CALL_SECONDS, AskHandler, SelfCheck, Waiting
from llm_consumer.settings import LlmSettings
from pipeline import topics
from pipeline.clock import time_of_day
from pipeline.consumer import Incoming
from pipeline.errors import Unavailable
from pipeline.messages import MAX_SAMPLE_CHARACTERS, BestAnswer, FailedQuestion, Response, RetryableFailure
from pipeline.providers.llm import Llm
from pipeline.providers.provider import Provider
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


class FakeAdmission:
    """Fake of the limiter in Redis; it records the reported outcomes."""

    def __init__(self):
        self.wait = 0.0
        self.at_fault = True
        self.admitted = []
        self.reported = []

    def admit(self, tokens):
        if self.wait:
            raise Unavailable("no room", self.wait, already_logged=True)
        self.admitted.append(tokens)
        return str(len(self.admitted))

    def answered(self, call_id, tokens, limits):
        self.reported.append(("answered", call_id, tokens))

    def refused(self, call_id, error, limits):
        self.reported.append(("refused", call_id, error.cause))

    def failed(self, call_id, question_id, since, error):
        self.reported.append(("failed", call_id, since))
        return self.at_fault

    def abandoned(self, call_id):
        self.reported.append(("abandoned", call_id))


class FakeCallCache(dict):
    """Fake of the cache of calls in Redis."""

    def _key(self, question, target):
        attempt = (question.processing_attempts, question.retry_count, len(question.errors))
        return question.question_id, question.asked_at, *attempt, target.base_url, target.model

    def get(self, question, target):
        return super().get(self._key(question, target))

    def put(self, question, target, outgoing):
        self[self._key(question, target)] = outgoing

    def get_paid(self, question, target):
        return list(super().get(("paid", question.question_id, question.processing_attempts), []))

    def put_paid(self, question, target, paid):
        self["paid", question.question_id, question.processing_attempts] = list(paid)


class FakeBudget:
    """Fake of the daily budget."""

    def __init__(self):
        self.seconds = 0.0
        self.charged = []

    def closed_seconds(self):
        return self.seconds

    def charge(self, tokens, cost):
        self.charged.append((tokens, cost))


BEST = BestAnswer(
    llm_response="It just is.",
    bert_score=0.2,
    bert_precision=0.2,
    bert_recall=0.2,
    attempt=1,
    model="m",
    scorer="encoder/6",
)

CALLS = ExitStack()
"""Closes the connections of all clients of this module."""


@pytest.fixture(scope="module", autouse=True)
def connections():
    with CALLS:
        yield


def asker(base_url, admission=None, budget=None, admissions=None, self_check=SelfCheck(), waiting=Waiting(), **more):
    settings = LlmSettings(llm_base_url=base_url, llm_timeout=1, **{"llm_extra_body": {"top_k": 40}} | more)
    admissions = admissions or {target.base_url: admission or FakeAdmission() for target in settings.targets}
    llms = [
        (each, CALLS.enter_context(Llm(each, settings.llm_timeout, settings.llm_max_tokens)))
        for each in settings.targets
    ]
    providers = [Provider(target, llm.ask, admissions[target.base_url], 128) for target, llm in llms]
    handler = AskHandler(
        providers, FakeCallCache(), budget or FakeBudget(), settings.llm_temperature, waiting, self_check
    )

    def ask_once(**changes):
        now = changes.pop("now", time_of_day)
        [outgoing] = handler(Incoming(samples.question(**changes), samples.SOURCE, now))
        assert outgoing.key == outgoing.message.question_id.encode()
        return outgoing

    return ask_once


@pytest.fixture
def ask(httpserver):
    return asker(httpserver.url_for("/v1"))


def test_an_answer_becomes_a_response(httpserver, ask):
    httpserver.expect_request(PATH, method="POST").respond_with_json(completion(" Scattering. "))
    outgoing = ask(processing_attempts=2, references=("A further reference.",))
    message = outgoing.message
    assert outgoing.topic == topics.RESPONSES_SUCCESS
    assert isinstance(message, Response)
    assert message.references == ("A further reference.",)
    assert (message.llm_response, message.model, message.finish_reason) == ("Scattering.", "scripted-model", "stop")
    assert (message.prompt_tokens, message.completion_tokens) == (31, 9)
    assert message.processing_attempts == 2
    sent = json.loads(httpserver.log[0][0].data)
    assert sent["model"] == "embedded"
    assert sent["top_k"] == 40
    assert "original_answer" not in json.dumps(sent)
    assert samples.question().original_answer not in json.dumps(sent)
    assert "references" not in json.dumps(sent)
    assert "A further reference." not in json.dumps(sent)


def test_a_question_without_reference_gets_samples_for_the_self_check(httpserver):
    for text in ("Scattering.", "First.", "Second." + "x" * 5000):
        httpserver.expect_ordered_request(PATH).respond_with_json(completion(text))
    message = asker(httpserver.url_for("/v1"), self_check=SelfCheck(2, 1.0))(original_answer=None).message
    assert message.llm_response == "Scattering."
    assert [(each[:7], len(each)) for each in message.samples] == [("First.", 6), ("Second.", MAX_SAMPLE_CHARACTERS)]
    assert (message.prompt_tokens, message.completion_tokens) == (3 * 31, 3 * 9)
    sent = [json.loads(request.data) for request, _ in httpserver.log]
    assert [each["temperature"] for each in sent] == [0.7, 1.0, 1.0]
    assert sent[0]["messages"] == sent[1]["messages"]


def test_the_temperature_of_a_sample_is_at_least_that_of_the_answer(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    ask_for = asker(httpserver.url_for("/v1"), self_check=SelfCheck(1, 1.0))
    ask_for(original_answer=None, processing_attempts=3)
    assert [json.loads(request.data)["temperature"] for request, _ in httpserver.log] == pytest.approx([1.0, 1.0])


def test_a_question_with_reference_gets_no_samples(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    assert asker(httpserver.url_for("/v1"), self_check=SelfCheck(2, 1.0))().message.samples == ()
    assert len(httpserver.log) == 1


def test_a_failed_sample_fails_the_attempt_and_a_duplicate_makes_no_call(httpserver):
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("Scattering."))
    httpserver.expect_ordered_request(PATH).respond_with_data("busy", 503)
    ask_for = asker(httpserver.url_for("/v1"), self_check=SelfCheck(2, 1.0))
    outgoing = ask_for(original_answer=None)
    assert (outgoing.topic, outgoing.message.error.status_code) == (topics.ERROR_OVERLOAD, 503)
    assert ask_for(original_answer=None) == outgoing
    assert len(httpserver.log) == 2


def test_an_answer_at_the_token_limit_ends_with_its_last_whole_sentence(httpserver, ask):
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
def test_temporary_errors_go_to_the_topic_of_their_type(httpserver, ask, status, body, headers, topic, wait):
    httpserver.expect_request(PATH).respond_with_data(body, status, headers)
    outgoing = ask(retry_count=1)
    assert outgoing.topic == topic
    assert isinstance(outgoing.message, RetryableFailure)
    assert (outgoing.message.error.status_code, outgoing.message.error.retry_after_seconds) == (status, wait)
    assert outgoing.message.retry_count == 1
    [error] = outgoing.message.errors
    assert (error.attempt, error.retry, error.status_code, error.retry_after_seconds) == (1, 1, status, wait)
    assert len(httpserver.log) == 1, "the handler must not retry by itself"


def test_a_wrong_key_is_permanent(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_json({"error": {"message": "Incorrect API key"}}, 401)
    outgoing = ask()
    assert outgoing.topic == topics.PERMANENT
    assert isinstance(outgoing.message, FailedQuestion)
    assert outgoing.message.reason == "not_retryable"
    assert "Incorrect API key" in outgoing.message.error.message


def test_a_duplicate_of_a_failed_call_makes_no_second_call(httpserver, ask):
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


@pytest.mark.parametrize("body", [b"not json", b"[]", b"{}", b"\xff\xfe"])
def test_an_unreadable_reply_with_status_200_is_overload(httpserver, ask, body):
    httpserver.expect_request(PATH).respond_with_data(body, content_type="application/json")
    outgoing = ask()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert outgoing.message.error.message.startswith("unreadable answer")


def test_a_refused_connection_is_overload():
    with socket.socket() as bound_without_listening:
        bound_without_listening.bind(("127.0.0.1", 0))
        outgoing = asker(f"http://127.0.0.1:{bound_without_listening.getsockname()[1]}/v1")()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert "Connection error" in outgoing.message.error.message


def test_a_call_without_a_reply_times_out(httpserver, ask):
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


def test_a_call_with_an_endless_slow_reply_times_out(httpserver, ask):
    """Each byte arrives in time but the answer never ends: a time-out per read would never end the call."""
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
def test_an_error_in_the_body_of_a_success_is_classified_by_its_code(httpserver, ask, error, topic):
    httpserver.expect_request(PATH).respond_with_json({"error": error})
    outgoing = ask()
    assert outgoing.topic == topic
    assert error["message"] in outgoing.message.error.message


def test_an_answer_of_a_megabyte_is_cut_and_made_storable(httpserver, ask):
    httpserver.expect_request(PATH).respond_with_json(completion("a\x00b\ud800" + "x" * 1_000_000))
    text = ask().message.llm_response
    assert text.startswith("a\ufffdb?x")
    assert len(text) == 32_000


@pytest.mark.parametrize(
    ("status", "body", "outcome", "counts"),
    [
        (429, "slow down", ("refused", "1", "rate_limit"), False),
        (402, "pay", ("refused", "1", "credit"), False),
        (503, "busy", ("failed", "1", None), True),
        (400, "bad request", ("answered", "1", 0), True),
    ],
)
def test_the_limiter_gets_the_outcome_of_a_failed_call(httpserver, status, body, outcome, counts):
    admission = FakeAdmission()
    httpserver.expect_request(PATH).respond_with_data(body, status)
    message = asker(httpserver.url_for("/v1"), admission)().message
    assert admission.reported == [outcome]
    assert message.error.counts_as_retry is counts


def test_the_limiter_gets_the_tokens_of_an_answer(httpserver):
    admission = FakeAdmission()
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    asker(httpserver.url_for("/v1"), admission)()
    assert admission.reported == [("answered", "1", 40)]


def test_a_rate_limit_error_uses_up_no_retry(httpserver):
    httpserver.expect_request(PATH).respond_with_data("slow down", 429)
    message = asker(httpserver.url_for("/v1"))(retry_count=1).message
    assert (message.retry_count, message.error.counts_as_retry) == (1, False)
    assert message.waiting_since == message.failed_at
    again = asker(httpserver.url_for("/v1"))(retry_count=1, errors=message.errors, waiting_since=samples.NOW).message
    assert again.waiting_since == samples.NOW, "patience starts with the first refusal"
    [error] = again.errors
    assert (error.retry, error.times) == (1, 2)


def test_an_outage_of_the_provider_uses_up_no_retry(httpserver):
    admission = FakeAdmission()
    admission.at_fault = False
    httpserver.expect_request(PATH).respond_with_data("busy", 503)
    message = asker(httpserver.url_for("/v1"), admission)().message
    assert message.error.counts_as_retry is False
    asker(httpserver.url_for("/v1"), admission)(errors=message.errors)
    assert admission.reported[1] == ("failed", "2", message.failed_at), "the time of its previous failure is passed on"


def test_quota_errors_use_up_retries_if_configured(httpserver):
    httpserver.expect_request(PATH).respond_with_data("pay", 402)
    message = asker(httpserver.url_for("/v1"), waiting=Waiting(quota_counts=True))().message
    assert (message.error.counts_as_retry, message.waiting_since) == (True, None)


def test_a_refusal_after_the_patience_is_used_up_fails_the_question(httpserver):
    httpserver.expect_request(PATH).respond_with_data("slow down", 429)
    outgoing = asker(httpserver.url_for("/v1"))(waiting_since=samples.NOW)
    assert (outgoing.topic, outgoing.message.reason) == (topics.PERMANENT, "patience_exhausted")


def test_waiting_for_admission_after_the_patience_is_used_up_fails_the_question(httpserver):
    admission = FakeAdmission()
    admission.wait = 40
    ask = asker(httpserver.url_for("/v1"), admission)
    with pytest.raises(Unavailable):
        ask()
    earlier = samples.failed_call("quota")
    outgoing = ask(errors=earlier.errors, waiting_since=samples.NOW)
    assert (outgoing.topic, outgoing.message.reason) == (topics.PERMANENT, "patience_exhausted")
    assert outgoing.message.error.message == "busy"


def test_patience_is_measured_with_the_clock_of_the_message(httpserver):
    httpserver.expect_request(PATH).respond_with_data("slow down", 429)
    admission = FakeAdmission()
    ask = asker(httpserver.url_for("/v1"), admission, waiting=Waiting(patience_seconds=600))
    waited = {"errors": samples.failed_call("quota").errors, "waiting_since": samples.NOW}
    assert ask(**waited, now=lambda: samples.NOW + timedelta(seconds=590)).topic == topics.ERROR_OVERLOAD
    admission.wait = 40
    with pytest.raises(Unavailable):
        ask(question_text="Why?", **waited, now=lambda: samples.NOW + timedelta(seconds=590))
    ended = ask(question_text="Why?", **waited, now=lambda: samples.NOW + timedelta(seconds=650))
    assert ended.message.reason == "patience_exhausted"


def test_a_question_with_its_patience_used_up_gets_one_more_call(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    assert asker(httpserver.url_for("/v1"))(waiting_since=samples.NOW).topic == topics.RESPONSES_SUCCESS


@pytest.mark.parametrize(
    ("status", "body", "waiting_since"),
    [(401, "wrong key", None), (400, "maximum context length", None), (429, "slow down", samples.NOW)],
)
def test_the_best_answer_is_kept_when_a_regeneration_fails(httpserver, status, body, waiting_since):
    httpserver.expect_request(PATH).respond_with_data(body, status)
    outgoing = asker(httpserver.url_for("/v1"))(processing_attempts=2, best=BEST, waiting_since=waiting_since)
    message = outgoing.message
    assert (outgoing.topic, message.quality) == (topics.VALIDATED, "max_retries_reached")
    assert (message.llm_response, message.bert_score, message.scorer) == ("It just is.", 0.2, "encoder/6")
    assert message.errors[-1].status_code == status


def test_a_prompt_that_does_not_fit_is_sent_again_in_shorter_forms(httpserver):
    for _ in range(2):
        httpserver.expect_ordered_request(PATH).respond_with_data("exceed_context_size_error", 400)
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("Scattering."))
    best = BEST.model_copy(update={"llm_response": "It just is. " * 100})
    outgoing = asker(httpserver.url_for("/v1"))(processing_attempts=2, best=best)
    assert outgoing.topic == topics.RESPONSES_SUCCESS
    sizes = [
        sum(len(each["content"]) for each in json.loads(request.data)["messages"]) for request, _ in httpserver.log
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


def test_answers_paid_for_before_a_failed_sample_are_recorded_and_reused(httpserver):
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("Scattering."))
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("First."))
    httpserver.expect_ordered_request(PATH).respond_with_data("busy", 503)
    httpserver.expect_ordered_request(PATH).respond_with_json(completion("Second."))
    budget = FakeBudget()
    ask = asker(httpserver.url_for("/v1"), budget=budget, self_check=SelfCheck(2), llm_prices="embedded=1/2")
    failed = ask(original_answer=None).message
    assert (failed.error.prompt_tokens, failed.error.completion_tokens) == (62, 18)
    assert failed.error.cost == Decimal("0.000098")
    answered = ask(original_answer=None, retry_count=1, errors=failed.errors).message
    assert (answered.llm_response, answered.samples) == ("Scattering.", ("First.", "Second."))
    assert (answered.prompt_tokens, answered.cost) == (31, Decimal("0.000049")), (
        "the usage of the others must not be recorded twice"
    )
    assert len(httpserver.log) == 4
    assert len(budget.charged) == 3


def test_a_duplicate_message_makes_no_second_call(httpserver):
    admission = FakeAdmission()
    ask = asker(httpserver.url_for("/v1"), admission)
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    first = ask(processing_attempts=2)
    admission.wait = 30
    again = ask(processing_attempts=2)
    assert (again.topic, again.message) == (first.topic, first.message)
    assert len(httpserver.log) == 1
    admission.wait = 0
    ask(processing_attempts=3)
    ask(processing_attempts=2, asked_at=samples.NOW + timedelta(seconds=9))
    assert len(httpserver.log) == 3, "another attempt and a question asked again later are new calls"


def test_each_attempt_calls_its_model_at_its_address_with_its_key(httpserver):
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
    assert "top_k" not in json.loads(httpserver.log[1][0].data), (
        "extra fields of one provider must not be sent to another"
    )


def test_a_provider_that_admits_no_calls_does_not_stop_another_provider(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    small, big = httpserver.url_for("/v1"), httpserver.url_for("/big")
    admissions = {small: FakeAdmission(), big: FakeAdmission()}
    ask = asker(small, admissions=admissions, llm_models=f"small, big@{big}")
    admissions[big].wait = 40
    with pytest.raises(Unavailable) as held:
        ask(processing_attempts=2)
    assert held.value.wait_seconds == 40
    assert ask().topic == topics.RESPONSES_SUCCESS
    assert len(httpserver.log) == 1


def test_a_null_in_the_extra_body_removes_a_field(httpserver):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    asker(httpserver.url_for("/v1"), llm_extra_body={"max_tokens": None, "max_completion_tokens": 900, "top_p": None})()
    sent = json.loads(httpserver.log[0][0].data)
    assert sent.keys() == {"model", "messages", "temperature", "max_completion_tokens", "stream"}


def test_a_used_up_budget_pauses_questions_without_a_call(httpserver):
    budget = FakeBudget()
    budget.seconds = 3600
    with pytest.raises(Unavailable, match="budget") as parked:
        asker(httpserver.url_for("/v1"), budget=budget)()
    assert (parked.value.wait_seconds, parked.value.already_logged) == (3600, True)
    assert httpserver.log == []


def test_empty_answers_are_charged_to_the_budget_and_failed_calls_are_not(httpserver):
    budget = FakeBudget()
    ask = asker(httpserver.url_for("/v1"), budget=budget, llm_prices="embedded=1/2")
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


def test_a_call_without_token_counts_is_charged_with_an_upper_bound(httpserver):
    budget = FakeBudget()
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering.") | {"usage": None})
    answer = asker(httpserver.url_for("/v1"), budget=budget, llm_prices="embedded=1/2")().message
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost) == (0, 0, None)
    [(tokens, cost)] = budget.charged
    sent = json.loads(httpserver.log[0][0].data)["messages"]
    assert tokens == sum(len(each["content"]) for each in sent) + len("Scattering.")
    assert cost == tokens * Decimal("0.000002")


def test_reasoning_tokens_in_the_total_alone_are_counted(httpserver, ask):
    usage = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering.") | {"usage": usage})
    message = ask().message
    assert (message.prompt_tokens, message.completion_tokens) == (20, 603)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": "many", "total_tokens": None}, {"completion_tokens": -1}])
def test_invalid_usage_counts_as_no_tokens(httpserver, ask, usage):
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering.") | {"usage": usage})
    message = ask().message
    assert (message.prompt_tokens, message.completion_tokens) == (0, 0)


def test_a_duplicate_of_a_call_in_flight_waits_and_makes_no_call(httpserver, ask):
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
            with pytest.raises(Unavailable, match="is being made") as postponed:
                ask()
        finally:
            may_answer.set()
        answered = first.result(20)
    assert (postponed.value.wait_seconds, postponed.value.already_logged) == (SAME_CALL_SECONDS, True)
    assert ask() == answered
    assert len(httpserver.log) == 1


def test_a_call_that_is_not_admitted_does_not_block_its_duplicate(httpserver):
    admission = FakeAdmission()
    admission.wait = 3.0
    ask_for = asker(httpserver.url_for("/v1"), admission)
    for _ in range(2):
        with pytest.raises(Unavailable, match="no room"):
            ask_for()


def test_an_internal_error_in_a_call_is_an_overload_error(httpserver, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("pipeline.providers.llm.completions.read", broken)
    httpserver.expect_request(PATH).respond_with_json(completion("Scattering."))
    admission = FakeAdmission()
    outgoing = asker(httpserver.url_for("/v1"), admission)()
    assert outgoing.topic == topics.ERROR_OVERLOAD
    assert "ZeroDivisionError" in outgoing.message.error.message
    assert admission.reported == [("abandoned", "1")]


def test_a_call_aborted_by_a_stop_is_neither_failed_nor_remembered(httpserver):
    came, release = threading.Event(), threading.Event()

    def hang(_request):
        came.set()
        release.wait(20)
        raise ConnectionError

    httpserver.expect_request(PATH).respond_with_handler(hang)
    settings = LlmSettings(llm_base_url=httpserver.url_for("/v1"), llm_timeout=20)
    llm, call_cache, admission = Llm(settings.targets[0], 20, 128), FakeCallCache(), FakeAdmission()
    handler = AskHandler(
        [Provider(settings.targets[0], llm.ask, admission, 128)], call_cache, FakeBudget(), 0.7, Waiting()
    )
    with ThreadPoolExecutor(1) as pool:
        try:
            call = pool.submit(handler, Incoming(samples.question(), samples.SOURCE))
            assert came.wait(20)
            llm.close()
            with pytest.raises(Unavailable, match="stops"):
                call.result(20)
        finally:
            release.set()
    assert admission.reported == [("abandoned", "1")]
    assert call_cache == {}
