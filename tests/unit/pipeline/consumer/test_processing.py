import base64
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from pipeline import messages, metrics, topics
from pipeline.consumer.in_flight import Ticket
from pipeline.consumer.partitions import Partition
from pipeline.consumer.processing import BACKOFF_SECONDS, FAULT_TRIES, Incoming, Processor
from pipeline.errors import Unavailable
from pipeline.messages import Attempt, BestAnswer, InvalidMessage
from pipeline.poison import PoisonLimit, TooManyUnreadable
from pipeline.producer import Outgoing
from tests.unit import samples

BEST = BestAnswer(
    llm_response="Air scatters it.",
    bert_score=0.2,
    bert_precision=0.8,
    bert_recall=0.8,
    attempt=1,
    model="scripted",
    scorer="minilm",
)


@pytest.fixture(autouse=True)
def logs():
    with structlog.testing.capture_logs() as logs:
        yield logs


def ticket_of(message, topic=topics.QUESTIONS_PENDING):
    source = samples.SOURCE.model_copy(update={"topic": topic})
    return Ticket(source, message.question_id.encode(), message.to_bytes(), Partition(), lambda: samples.NOW)


def processor(handler=lambda incoming: [], limit=100):
    return Processor(handler, PoisonLimit(limit))


def raising(error):
    def handler(_incoming):
        raise error

    return handler


def count(outcome):
    return metrics.MESSAGES.labels(topics.QUESTIONS_PENDING, outcome)._value.get()


def huge(characters, **changes):
    attempt = Attempt(
        attempt=1,
        model="scripted",
        llm_response="x" * characters,
        bert_score=0.1,
        llm_latency_ms=1,
        prompt_tokens=1,
        completion_tokens=1,
        generated_at=samples.NOW,
    )
    return samples.question(attempts=(attempt,), processing_attempts=2, **changes)


# --- process ---------------------------------------------------------------------------------------------------------


def test_the_handler_gets_the_message_its_source_and_the_time():
    got, handled = [], count("handled")
    outgoing = [Outgoing.of(topics.VALIDATED, samples.question())]

    def handler(incoming):
        got.append(incoming)
        return outgoing

    ticket = ticket_of(samples.question())
    assert processor(handler).process(ticket) is outgoing
    assert got == [Incoming(samples.question(), ticket.source)]
    assert got[0].now() == samples.NOW
    assert count("handled") == handled + 1


def test_the_time_of_an_incoming_message_is_the_time_of_day_by_default():
    before = messages.datetime.now(messages.UTC)
    assert Incoming(samples.question(), samples.SOURCE).now() - before < timedelta(seconds=5)


def test_unavailable_is_raised_to_the_caller():
    with pytest.raises(Unavailable, match="down"):
        processor(raising(Unavailable("down"))).process(ticket_of(samples.question()))


@pytest.mark.parametrize(
    ("ticket", "why"),
    [
        (replace(ticket_of(samples.question()), value=b"{not json"), "message: "),
        (replace(ticket_of(samples.question()), value=None), "null value"),
        (replace(ticket_of(samples.question()), value=b""), "empty value"),
        (replace(ticket_of(samples.question()), key=b"another"), "the key is not the question_id"),
    ],
)
def test_an_unreadable_message_becomes_a_dead_letter(ticket, why):
    rejected = count("rejected")
    [outgoing] = processor(raising(AssertionError("the handler must not be called"))).process(ticket)
    assert (outgoing.topic, outgoing.key) == (topics.PERMANENT, ticket.key)
    letter = outgoing.message
    assert (letter.reason, letter.source) == ("malformed", ticket.source)
    assert letter.error.startswith(why)
    assert letter.value_base64 == (None if ticket.value is None else base64.b64encode(ticket.value).decode())
    assert count("rejected") == rejected + 1


def test_a_message_that_the_handler_refuses_becomes_a_dead_letter():
    [outgoing] = processor(raising(InvalidMessage("no such column"))).process(ticket_of(samples.question()))
    assert (outgoing.message.reason, outgoing.message.error) == ("malformed", "no such column")


def test_a_message_that_crashes_the_handler_is_retried_and_then_rejected(logs):
    ticket, process = ticket_of(samples.question()), processor(raising(KeyError("a bug"))).process
    for _ in range(FAULT_TRIES - 1):
        with pytest.raises(Unavailable, match="KeyError: 'a bug'") as unavailable:
            process(ticket)
        assert unavailable.value.already_logged
    [outgoing] = process(ticket)
    assert (outgoing.message.reason, outgoing.message.error) == ("internal_error", "KeyError: 'a bug'")
    faults = [each["faults"] for each in logs if each["event"] == "failed to handle a message"]
    assert faults == list(range(1, FAULT_TRIES + 1))


def test_a_question_that_crashes_the_handler_keeps_its_best_answer():
    ticket = ticket_of(samples.question(best=BEST, processing_attempts=2))
    ticket.faults = FAULT_TRIES - 1
    [outgoing] = processor(raising(KeyError("a bug"))).process(ticket)
    assert (outgoing.topic, outgoing.key) == (topics.VALIDATED, ticket.key)
    assert (outgoing.message.llm_response, outgoing.message.quality) == (BEST.llm_response, "max_retries_reached")
    assert outgoing.message.errors[-1].message == "KeyError: 'a bug'"


def test_crashes_of_questions_with_a_best_answer_count_against_the_limit():
    process = processor(raising(KeyError("a bug")), limit=1).process
    tickets = [replace(ticket_of(samples.question(best=BEST, processing_attempts=2)), faults=9) for _ in range(2)]
    process(tickets[0])
    with pytest.raises(TooManyUnreadable):
        process(tickets[1])


def test_rejected_messages_are_counted_for_each_partition():
    process = processor(limit=2).process
    bad = replace(ticket_of(samples.question()), value=b"{not json")
    elsewhere = replace(bad, source=bad.source.model_copy(update={"partition": 1}))
    for _ in range(2):
        process(bad)
        process(elsewhere)
    with pytest.raises(TooManyUnreadable, match="3 of the last 3 messages of questions-pending/0"):
        process(bad)


def test_handled_messages_offset_rejected_ones():
    process = processor(limit=2).process
    bad = replace(ticket_of(samples.question()), value=b"{not json")
    for _ in range(10):
        process(bad)
        process(ticket_of(samples.question()))


# --- retries ---------------------------------------------------------------------------------------------------------


def test_retry_waits_grow_up_to_a_limit():
    ticket, retried = ticket_of(samples.question()), count("retried")
    waits = []
    for ticket.attempts in range(1, 8):
        waits.append(processor().retry_seconds(ticket, Unavailable("down")))
    assert waits == [*BACKOFF_SECONDS, BACKOFF_SECONDS[-1], BACKOFF_SECONDS[-1]]
    assert count("retried") == retried + 7


@pytest.mark.parametrize(("asked", "wait"), [(0.1, 0.1), (3, 3), (3600, BACKOFF_SECONDS[-1])])
def test_a_requested_wait_is_respected_up_to_a_limit(asked, wait):
    ticket = replace(ticket_of(samples.question()), attempts=3)
    assert processor().retry_seconds(ticket, Unavailable("down", asked)) == wait


@pytest.mark.parametrize(("already_logged", "level"), [(False, "warning"), (True, "debug")])
def test_a_retry_is_logged(logs, already_logged, level):
    processor().retry_seconds(
        replace(ticket_of(samples.question()), attempts=2), Unavailable("down", already_logged=already_logged)
    )
    [line] = logs
    assert (
        line["event"],
        line["log_level"],
        line["error"],
        line["wait_seconds"],
        line["attempts"],
        line["offset"],
    ) == (
        "scheduled a retry",
        level,
        "down",
        1,
        2,
        samples.SOURCE.offset,
    )


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_a_message_that_fits_is_not_changed():
    outgoing = Outgoing.of(topics.VALIDATED, samples.question())
    assert processor().fit(ticket_of(samples.question()), outgoing) is outgoing


def test_the_history_of_a_message_that_is_too_large_is_shortened(logs):
    outgoing = Outgoing.of(topics.VALIDATED, huge(topics.MAX_MESSAGE_BYTES))
    fitted = processor().fit(ticket_of(samples.question()), outgoing)
    assert (fitted.topic, fitted.key) == (outgoing.topic, outgoing.key)
    assert len(fitted.value) < 2000
    [line] = logs
    assert line["event"] == "cut the history of a question to fit its topic"
    assert (line["topic"], line["outgoing_topic"]) == (topics.QUESTIONS_PENDING, topics.VALIDATED)


def test_a_question_whose_next_message_is_too_large_fails(logs):
    ticket = ticket_of(samples.question())
    outgoing = Outgoing.of(topics.VALIDATED, samples.question(question_context="x" * topics.MAX_MESSAGE_BYTES))
    fitted = processor().fit(ticket, outgoing)
    assert (fitted.topic, fitted.message.reason) == (topics.PERMANENT, "not_retryable")
    assert topics.VALIDATED in fitted.message.error.message
    assert logs[-1]["event"] == "ended a question"


def test_a_question_whose_final_message_is_too_large_is_rejected():
    """The final message contains the best answer twice."""
    best = BEST.model_copy(update={"llm_response": "x" * (topics.MAX_MESSAGE_BYTES // 2)})
    ticket = ticket_of(
        samples.question(
            question_context="y" * (topics.MAX_MESSAGE_BYTES // 2 - 2000), best=best, processing_attempts=2
        )
    )
    outgoing = Outgoing.of(topics.VALIDATED, samples.question(question_context="z" * topics.MAX_MESSAGE_BYTES))
    fitted = processor().fit(ticket, outgoing)
    assert (fitted.topic, fitted.message.reason) == (topics.PERMANENT, "internal_error")


def test_a_message_other_than_a_question_is_rejected_when_its_next_message_is_too_large():
    letter = messages.DeadLetter.of(b"k", b"v", samples.SOURCE, "why", samples.NOW)
    source = samples.SOURCE.model_copy(update={"topic": topics.PERMANENT})
    ticket = Ticket(source, b"k", letter.to_bytes(), Partition(), lambda: samples.NOW)
    outgoing = Outgoing.of(topics.VALIDATED, samples.question(question_context="x" * topics.MAX_MESSAGE_BYTES))
    fitted = processor().fit(ticket, outgoing)
    assert (fitted.topic, fitted.message.reason) == (topics.PERMANENT, "internal_error")


def test_a_dead_letter_omits_a_value_that_is_too_large():
    ticket = replace(ticket_of(samples.question()), value=b"{" * topics.MAX_PERMANENT_BYTES)
    letter = processor().reject(ticket, "not JSON", "malformed").message
    assert letter.value_base64 is None
    assert letter.error == "not JSON (too large to forward: see its source)"
    assert letter.source == ticket.source
