"""Errors that wait for a retry, read from the error topics."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.messages import ErrorRecord, ProviderError, RetryableFailure
from pipeline.offsets import Progress
from tests.unit.viz_service.fakes import KNOWN, NOW, UNKNOWN, waiting_error
from viz_service import waiting
from viz_service.settings import VizSettings


def failed_call(**changes: object) -> RetryableFailure:
    known: dict[str, object] = {
        "question_id": KNOWN,
        "question_text": "Why? " * 100,
        "asked_at": NOW,
        "error": ProviderError(type="overload", status_code=503, message="server busy"),
        "failed_at": NOW,
    }
    return RetryableFailure(**known | changes)  # type: ignore[arg-type]


def read(call: RetryableFailure, topic: str = topics.ERROR_OVERLOAD, **settings: Any) -> waiting.WaitingError | None:
    return waiting.read_error(topic, call.question_id.encode(), call.to_bytes(), VizSettings(**settings))


@pytest.mark.parametrize(
    ("topic", "retry", "asked_for", "longest", "seconds"),
    [
        (topics.ERROR_OVERLOAD, 0, None, 600, 2),
        (topics.ERROR_OVERLOAD, 2, None, 600, 8),
        (topics.ERROR_QUOTA, 0, None, 600, 60),
        (topics.ERROR_QUOTA, 0, 90.0, 600, 90),
        (topics.ERROR_QUOTA, 0, 900.0, 600, 600),
        (topics.ERROR_QUOTA, 0, 900.0, 100, 100),
    ],
)
def test_the_due_time_equals_that_of_the_retry_consumer(
    topic: str, retry: int, asked_for: float | None, longest: float, seconds: float
) -> None:
    error = ProviderError(type="quota", status_code=429, message="", retry_after_seconds=asked_for)
    found = read(failed_call(error=error, retry_count=retry), topic, retry_after_max=longest)
    assert found
    assert found.due_at == NOW + timedelta(seconds=seconds)
    assert len(found.question_text) == waiting.TEXT_CHARACTERS


@pytest.mark.parametrize(
    ("topic", "times", "asked_for", "seconds"),
    [
        (topics.ERROR_OVERLOAD, 1, None, 2),
        (topics.ERROR_OVERLOAD, 2, None, 4),
        (topics.ERROR_OVERLOAD, 9, None, 60),
        (topics.ERROR_QUOTA, 4, None, 60),
        (topics.ERROR_QUOTA, 4, 40_000.0, 40_000),
    ],
)
def test_the_delay_of_a_call_that_used_no_retry_grows_with_its_number_of_calls(
    topic: str, times: int, asked_for: float | None, seconds: float
) -> None:
    error = ProviderError(
        type="quota", cause="rate_limit", message="", retry_after_seconds=asked_for, counts_as_retry=False
    )
    failure = ErrorRecord(attempt=1, retry=3, times=times, failed_at=NOW, **error.model_dump())
    found = read(failed_call(error=error, retry_count=3, errors=(failure,)), topic)
    assert found
    assert found.due_at == NOW + timedelta(seconds=seconds)
    assert (found.cause, found.times, found.counts_as_retry) == ("rate_limit", times, False)


def test_errors_without_retries_left_are_not_waiting() -> None:
    assert read(failed_call(retry_count=3)) is None
    for retries in (0, 2):
        assert read(failed_call(retry_count=retries), topics.ERROR_QUOTA)
        assert read(failed_call(retry_count=retries), topics.ERROR_OVERLOAD, max_quota_retries=0)
        assert read(failed_call(retry_count=retries), topics.ERROR_QUOTA, max_quota_retries=0) is None


def test_the_due_time_is_limited_by_the_patience() -> None:
    error = ProviderError(type="quota", message="", retry_after_seconds=40_000, counts_as_retry=False)
    found = read(failed_call(error=error, waiting_since=NOW), topics.ERROR_QUOTA, llm_patience=300)
    assert found
    assert found.due_at == NOW + timedelta(seconds=300)


@pytest.mark.parametrize("value", [None, b"", b"no JSON", b"{}"])
def test_unreadable_errors_are_skipped(value: bytes | None) -> None:
    assert waiting.read_error(topics.ERROR_OVERLOAD, b"key", value, VizSettings()) is None


def test_old_errors_and_errors_over_the_limit_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    old = waiting_error(due_at=NOW - timedelta(minutes=11))
    first = waiting_error(retry=1, due_at=NOW + timedelta(seconds=1))
    second = waiting_error(retry=2, due_at=NOW + timedelta(seconds=2))
    assert list(waiting.remembered([second, old, first], NOW).values()) == [first, second]
    monkeypatch.setattr(waiting, "MAX_ERRORS", 1)
    assert list(waiting.remembered([second, old, first], NOW).values()) == [second]


def test_errors_are_selected_by_question() -> None:
    errors = [waiting_error(), waiting_error(question_id=UNKNOWN)]
    [found] = waiting.as_error_records(errors, KNOWN)
    assert (found.type, found.due_at) == ("quota", NOW + timedelta(minutes=1))


def due(*seconds: int) -> dict[int, object]:
    return {offset: NOW + timedelta(seconds=each) for offset, each in enumerate(seconds)}


@pytest.mark.parametrize(
    ("progress", "left"),
    [
        (Progress(0), [0, 1, 2, 3, 4, 5]),
        (Progress(2), [2, 3, 4, 5]),
        (Progress(1, (range(2, 4),)), [1, 4, 5]),
        (Progress(0, (range(1, 2), range(3, 5))), [0, 2, 5]),
        (Progress(0, (range(1, 10**12),)), [0]),
        (Progress(6), []),
    ],
)
def test_unfinished_offsets_are_neither_committed_nor_finished_out_of_order(
    progress: Progress, left: list[int]
) -> None:
    assert list(waiting.unfinished(due(*range(6)), progress)) == left  # type: ignore[arg-type]


def test_the_earliest_due_time_is_found_at_any_offset() -> None:
    assert waiting.first_due(due(90, 5, 40), Progress(0)) == NOW + timedelta(seconds=5)  # type: ignore[arg-type]
    assert waiting.first_due({}, Progress(0)) is None


def test_errors_beyond_full_commit_metadata_are_ignored() -> None:
    """Metadata hold a limited number of ranges; later finished messages would look unfinished."""
    many = Progress(0, tuple(range(number, number + 1) for number in range(1, 5_000, 2)))
    stored = Progress.of(0, many.metadata)
    assert len(stored.ahead) < len(many.ahead)
    beyond = stored.ahead[-1].stop + 1
    assert waiting.first_due({beyond: NOW}, stored) is None
    assert waiting.first_due({2: NOW, beyond: NOW - timedelta(days=1)}, stored) == NOW


def test_each_message_is_read_once_from_the_committed_offset() -> None:
    """Uses the mock broker of librdkafka."""
    mock = AdminClient({"test.mock.num.brokers": 1})
    [broker] = mock.list_topics(timeout=10).brokers.values()
    address = f"{broker.host}:{broker.port}"
    ends: dict[tuple[str, int], int] = {}

    def send(*calls: RetryableFailure) -> None:
        producer = Producer({"bootstrap.servers": address})

        def delivered(_error: object, message: object) -> None:
            ends[topics.ERROR_QUOTA, message.partition()] = message.offset() + 1  # type: ignore[attr-defined]

        for call in calls:
            producer.produce(topics.ERROR_QUOTA, call.to_bytes(), call.question_id, partition=0, on_delivery=delivered)
        assert producer.flush(10) == 0

    later = NOW + timedelta(days=36_500)
    send(failed_call(failed_at=later), failed_call(failed_at=later, retry_count=1))
    reader = waiting.ErrorReader(VizSettings(kafka_bootstrap_servers=address))
    done = Progress(1)
    read_errors = _until(reader, ends, done, 1)
    assert [each.retry for each in read_errors.known] == [1]
    assert read_errors.due == {topics.ERROR_QUOTA: later + timedelta(seconds=60)}
    send(failed_call(failed_at=later, retry_count=2), failed_call(failed_at=later, retry_count=3))
    read_errors = _until(reader, ends, done, 2)
    assert [each.retry for each in read_errors.known] == [1, 2]
    # The last one has no retries left: it does not wait, and counts as due since it was read.
    assert read_errors.due[topics.ERROR_QUOTA] <= datetime.now(UTC)
    done = Progress(1, (range(3, 4),))
    assert _until(reader, ends, done, 2).due == {topics.ERROR_QUOTA: later + timedelta(seconds=60)}
    assert _until(reader, ends, Progress(4), 2).due == {}
    # A position beyond the end means that the topic was created again: reading starts again.
    reader._positions[topics.ERROR_QUOTA, 0] = 99
    reader._due[topics.ERROR_QUOTA, 0][98] = NOW
    assert {each.retry for each in _until(reader, ends, Progress(0), 3).known} == {0, 1, 2}
    assert list(reader._due[topics.ERROR_QUOTA, 0]) == [0, 1, 2, 3]


def _until(reader: waiting.ErrorReader, ends: dict[tuple[str, int], int], done: Progress, count: int) -> waiting.Errors:
    """Reads repeatedly: a read may end before the client is connected, and the next one continues."""
    found = waiting.Errors([], {})
    for _ in range(10):
        found = reader.read(ends, {(topics.ERROR_QUOTA, 0): done})
        if len(found.known) >= count and reader._positions == ends:
            break
    return found
