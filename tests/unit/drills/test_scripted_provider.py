"""The scripted provider, called by the client of llm-consumer."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_consumer.prompt import prompts
from pipeline.messages import BestAnswer
from pipeline.providers.api import CallFailed, EmptyAnswer
from pipeline.providers.llm import Llm
from pipeline.providers.targets import Target
from pipeline.question import normalise
from tests import scripted_provider as replies
from tests.drills.scripts import SCRIPTS
from tests.scripted_provider import TEMPERATURE, ScriptedProvider
from tests.unit import samples

BEST = BestAnswer(llm_response="worse", bert_score=0.1, bert_precision=0.1, bert_recall=0.1, attempt=1, model="m")


@pytest.fixture(scope="module")
def provider():
    provider = ScriptedProvider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def ask(provider):
    target = Target("scripted", provider.base_url)
    with Llm(target, 30, 128) as patient, Llm(target, 1, 128) as brief:

        def call(text, attempt=1, hangs=False):
            best = BEST if attempt > 1 else None
            question = samples.question(question_text=text, processing_attempts=attempt, best=best)
            return (brief if hangs else patient).ask(prompts(question, TEMPERATURE)[0]).text

        yield call


def test_replies_follow_the_script_and_the_last_one_repeats(provider, ask):
    provider.script("In turn?", "one", replies.answer("two"), (200, {}, replies.completion("three").decode()))
    assert [ask("In turn?") for _ in range(4)] == ["one", "two", "three", "three"]
    assert len(provider.calls("In turn?")) == 4


def test_calls_are_counted_by_question_and_attempt(provider, ask):
    provider.script("How often?", "often")
    for attempt in (1, 1, 2, 3):
        ask("How often?", attempt)
    counted = {attempt: n for (text, attempt), n in provider.counts().items() if text == normalise("How often?")}
    assert counted == {1: 2, 2: 1, 3: 1}


def test_without_a_script_the_default_replies_by_attempt(provider, ask):
    provider.default = lambda text: SCRIPTS["second good" if "yes" in text else "first good"].replies
    try:
        first, second, third = (ask("No script, yes?", attempt) for attempt in (1, 2, 3))
        assert first != second == third
        assert ask("No script, no?") == second
    finally:
        provider.default = replies.default_script
    assert ask("And now?") == "I was not told what to say."


def test_a_repeated_call_of_an_attempt_gets_the_same_reply(provider, ask):
    provider.default = lambda text: SCRIPTS["second good"].replies
    try:
        assert ask("Repeated?") == ask("Repeated?") != ask("Repeated?", 2)
    finally:
        provider.default = replies.default_script


@pytest.mark.parametrize(
    ("reply", "status", "kind"),
    [
        (replies.refusal(429, "too many requests"), 429, "overload"),
        (replies.refusal(429, "insufficient_quota"), 429, "quota"),
        (replies.refusal(402, "pay"), 402, "quota"),
        (replies.refusal(503, "busy"), 503, "overload"),
        (replies.refusal(400, "no"), 400, "permanent"),
        (replies.drop(), None, "overload"),
        (replies.answer(""), None, "overload"),
        (replies.error_in_success(), None, "overload"),
        (replies.invalid_utf8(), None, "overload"),
        (replies.not_a_number(), None, "overload"),
        (replies.hang(), None, "overload"),
    ],
)
def test_each_failure_reply_is_classified_as_that_of_a_real_provider(provider, ask, reply, status, kind):
    text = f"Failing with {reply}?"
    provider.script(text, reply)
    with pytest.raises(CallFailed) as failure:
        ask(text, hangs=reply.manner == "hang")
    assert (failure.value.error.status_code, failure.value.error.type) == (status, kind)
    assert isinstance(failure.value, EmptyAnswer) is (reply == replies.answer(""))


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (replies.refusal(429, "later", {"Retry-After": "3"}), 3),
        (replies.refusal(429, "later", {"retry-after-ms": "2500"}), 2.5),
        (replies.refusal_until(429, "later", 20), 20),
    ],
)
def test_a_refusal_carries_its_wait(provider, ask, reply, seconds):
    text = f"When, {reply}?"
    provider.script(text, reply)
    with pytest.raises(CallFailed) as failure:
        ask(text)
    assert failure.value.error.retry_after_seconds == pytest.approx(seconds, abs=1.5)


def test_a_long_answer_is_delivered_and_cut_at_the_limit(provider, ask):
    provider.script("Long?", SCRIPTS["1 MB"].replies[0][0])
    assert len(ask("Long?")) == 32_000


def test_the_peak_of_calls_in_flight_is_counted(provider, ask):
    provider.script("At once?", "yes")
    peak = provider.watch_peak()
    provider.hold.clear()
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(ask, "At once?") for _ in range(4)]
        until = time.monotonic() + 20
        while peak() < 4 and time.monotonic() < until:
            time.sleep(0.01)
        provider.hold.set()
        assert [each.result() for each in started] == ["yes"] * 4
    assert peak() == 4
    assert provider.watch_peak()() == 0


def test_a_disconnected_call_is_not_in_flight(provider, ask):
    provider.script("Gone?", replies.hang())
    with pytest.raises(CallFailed):
        ask("Gone?", hangs=True)
    until = time.monotonic() + 5
    while (left := provider.watch_peak()()) and time.monotonic() < until:
        time.sleep(0.01)
    assert left == 0
