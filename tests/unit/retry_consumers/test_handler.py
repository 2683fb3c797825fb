from datetime import timedelta

import pytest

from pipeline import topics
from pipeline.consumer import Incoming
from pipeline.delays import OVERLOAD, QUOTA
from pipeline.messages import FailedQuestion, Question
from retry_consumers.handler import RetryHandler
from tests.unit import samples


@pytest.mark.parametrize(
    ("kind", "delays", "retries", "seconds"),
    [("overload", OVERLOAD, 0, 2), ("overload", OVERLOAD, 1, 4), ("overload", OVERLOAD, 2, 8), ("quota", QUOTA, 0, 60)],
)
def test_a_retry_is_due_after_its_delay(kind, delays, retries, seconds):
    failed = samples.failed_call(kind, retry_count=retries, processing_attempts=2)
    [outgoing] = RetryHandler(delays, chance=lambda: 0)(Incoming(failed, samples.SOURCE))
    assert outgoing.topic == topics.QUESTIONS_PENDING
    assert type(outgoing.message) is Question
    assert (outgoing.message.retry_count, outgoing.message.processing_attempts) == (retries + 1, 2)
    assert outgoing.due_at == samples.NOW + timedelta(seconds=seconds)
    [error] = outgoing.message.errors
    assert (error.attempt, error.retry, error.type, error.due_at) == (2, retries, kind, outgoing.due_at)


def test_a_question_without_retries_left_fails_permanently_with_its_history():
    failed = samples.failed_call(retry_count=3)
    [outgoing] = RetryHandler(OVERLOAD)(Incoming(failed, samples.SOURCE))
    assert outgoing.topic == topics.PERMANENT
    assert isinstance(outgoing.message, FailedQuestion)
    assert (outgoing.message.reason, outgoing.message.error.message) == ("retries_exhausted", "busy")
    assert outgoing.message.source == samples.SOURCE
    assert outgoing.due_at is None
