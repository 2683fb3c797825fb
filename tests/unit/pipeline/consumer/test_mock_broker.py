"""Tests of the loop with an in-process broker."""

import base64
import json
import threading
import time
from datetime import timedelta

import pytest
import structlog

from pipeline import topics
from pipeline.clock import Clock, time_of_day
from pipeline.consumer import FAULT_TRIES, Limits
from pipeline.errors import Unavailable
from pipeline.health import Heartbeat
from pipeline.messages import BestAnswer, InvalidMessage
from pipeline.poison import TooManyUnreadable
from pipeline.producer import Outgoing
from tests.unit import samples
from tests.unit.pipeline.broker import PATIENCE_SECONDS, Broker

FAST = Clock(elapsed=lambda: 100 * time.monotonic())
"""Clock of tests that do not check waits: it runs 100 times as fast."""

FIVE_MINUTES = timedelta(minutes=5)


class FakeClock(Clock):
    """Both clocks stop until a test moves them."""

    def __init__(self):
        self.day, self.seconds = samples.NOW, 1000.0
        super().__init__(lambda: self.day, lambda: self.seconds)


class Handler:
    """Runs the n-th of `steps` at the n-th call; the last step repeats."""

    def __init__(self, *steps):
        self.steps = steps
        self.texts = []
        self._called = threading.Condition()

    def __call__(self, incoming):
        with self._called:
            self.texts.append(incoming.message.question_text)
            step = self.steps[min(len(self.texts), len(self.steps)) - 1]
            self._called.notify_all()
        if isinstance(step, Exception):
            raise step
        return step(incoming) if step else []

    def wait_for(self, calls):
        with self._called:
            assert self._called.wait_for(lambda: len(self.texts) >= calls, PATIENCE_SECONDS), self.texts


@pytest.fixture
def broker():
    return Broker(topics.QUESTIONS_PENDING, topics.ERROR_QUOTA, topics.VALIDATED, topics.PERMANENT)


@pytest.fixture
def run(broker, tmp_path):
    def run(handler, read=(topics.QUESTIONS_PENDING,), clock=FAST, limits=Limits(), **settings):
        return broker.consuming(read, handler, limits, clock, Heartbeat(tmp_path / "heartbeat"), **settings)

    return run


def ask(broker, text):
    question = samples.question(question_text=text)
    broker.produce(topics.QUESTIONS_PENDING, question.to_bytes(), question.question_id.encode())
    return question


def test_a_message_that_always_crashes_the_handler_becomes_an_internal_error(broker, run):
    question = ask(broker, "Does it fail?")
    handler = Handler(*[KeyError("a bug")] * FAULT_TRIES, None)
    with structlog.testing.capture_logs() as logs, run(handler), broker.reading(topics.PERMANENT) as reader:
        found = json.loads(reader.next())
        ask(broker, "Does it continue?")
        handler.wait_for(FAULT_TRIES + 1)
    assert handler.texts == ["Does it fail?"] * FAULT_TRIES + ["Does it continue?"]
    assert (found["reason"], found["error"]) == ("internal_error", "KeyError: 'a bug'")
    assert base64.b64decode(found["value_base64"]) == question.to_bytes()
    assert [each["exc_info"] for each in logs if each["event"] == "failed to handle a message"] == [True] * FAULT_TRIES


def test_a_question_that_always_crashes_the_handler_keeps_its_best_answer(broker, run):
    best = BestAnswer(
        llm_response="Air scatters it.",
        bert_score=0.2,
        bert_precision=0.8,
        bert_recall=0.8,
        bert_f1=0.8,
        attempt=1,
        model="scripted",
        scorer="minilm",
    )
    question = samples.question(best=best, processing_attempts=2)
    broker.produce(topics.QUESTIONS_PENDING, question.to_bytes(), question.question_id.encode())
    with run(Handler(KeyError("a bug"))), broker.reading(topics.VALIDATED) as reader:
        kept = json.loads(reader.next())
    assert (kept["llm_response"], kept["quality"]) == (best.llm_response, "max_retries_reached")
    assert [each["message"] for each in kept["errors"]] == ["KeyError: 'a bug'"]


def test_a_single_crash_after_an_outage_of_a_dependency_rejects_nothing(broker, run):
    ask(broker, "Does it pass?")
    outage = [Unavailable("down")] * FAULT_TRIES
    handler = Handler(*outage, TypeError("once"), lambda _: [Outgoing.of(topics.VALIDATED, samples.question())])
    with structlog.testing.capture_logs() as logs, run(handler), broker.reading(topics.VALIDATED) as reader:
        assert reader.next() == samples.question().to_bytes()
    assert not [each for each in logs if each["event"] == "rejected a message"]


def test_unreadable_and_refused_messages_are_malformed_without_a_retry(broker, run):
    handler = Handler(InvalidMessage("the database refuses it"))
    refused = ask(broker, "Is it refused?").to_bytes()
    unreadable = [b"{not json", b'{"schema_version": 1}']
    for value in unreadable:
        broker.produce(topics.QUESTIONS_PENDING, value)
    with run(handler), broker.reading(topics.PERMANENT) as reader:
        found = [json.loads(reader.next()) for _ in range(3)]
    assert {each["reason"] for each in found} == {"malformed"}
    assert {base64.b64decode(each["value_base64"]) for each in found} == {refused, *unreadable}
    assert len(handler.texts) == 1


def test_the_loop_ends_when_one_topic_is_unreadable_although_another_is_fine(broker, run):
    for number in range(8):
        ask(broker, f"Question {number}?")
        broker.produce(topics.ERROR_QUOTA, b"{not json")
    handler = Handler(None)
    until = time.monotonic() + PATIENCE_SECONDS
    read, limits = (topics.QUESTIONS_PENDING, topics.ERROR_QUOTA), Limits(drain_seconds=0.5)
    with run(handler, read, limits=limits, poison_limit=3) as ended:
        while not ended and time.monotonic() < until:
            ask(broker, "Is it fine?")
    [error] = ended
    assert isinstance(error, TooManyUnreadable)
    assert f"4 of the last 4 messages of {topics.ERROR_QUOTA}/0" in str(error)


@pytest.mark.parametrize("jump", [FIVE_MINUTES, -FIVE_MINUTES], ids=["forward", "back"])
def test_waits_are_unaffected_by_changes_of_the_system_clock(broker, run, jump):
    clock, times = FakeClock(), []
    later = samples.question(question_text="Later?")

    def first_wait(incoming):
        times.append(incoming.now())
        raise Unavailable("down", 8)

    def note(incoming):
        times.append(incoming.now())
        return []

    handler = Handler(
        lambda _: [Outgoing.of(topics.VALIDATED, later, clock.day + timedelta(seconds=60))], first_wait, note
    )
    with run(handler, clock=clock), broker.reading(topics.VALIDATED) as reader:
        for number, text in enumerate(("Is it sent later?", "Is it set aside?"), 1):
            ask(broker, text)
            handler.wait_for(number)
        clock.day += jump
        for number, text in enumerate(("Who else?", "Has the loop looked for what is due?"), 3):
            ask(broker, text)
            handler.wait_for(number)
        assert "Is it set aside?" not in handler.texts[2:]
        clock.seconds += 8
        handler.wait_for(5)
        assert handler.texts[4] == "Is it set aside?"
        assert reader.poll() is None
        clock.seconds += 52
        assert reader.next() == later.to_bytes()
    assert times[0] == samples.NOW
    assert times[1:3] == [samples.NOW + jump] * 2, "read after the clock was set"
    assert times[3] == samples.NOW + timedelta(seconds=8)


def test_a_clock_has_an_elapsed_time_and_a_time_of_day():
    clock = Clock()
    before, day = clock.elapsed(), time_of_day()
    assert clock.elapsed() >= before
    assert abs(clock.running()() - day) < timedelta(minutes=1)
