"""Errors on their way, from the error topics."""

from datetime import timedelta

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.messages import CallError, FailedCall
from tests.unit.viz_service.fakes import KNOWN, NOW, UNKNOWN, waiting_error
from viz_service import waiting
from viz_service.settings import VizSettings


def failed_call(**changes: object) -> FailedCall:
    known: dict[str, object] = {
        "question_id": KNOWN,
        "question_text": "Why? " * 100,
        "asked_at": NOW,
        "error": CallError(type="overload", status_code=503, message="server busy"),
        "failed_at": NOW,
    }
    return FailedCall(**known | changes)  # type: ignore[arg-type]


def read(call: FailedCall, topic: str = topics.ERROR_OVERLOAD, longest: float = 600) -> waiting.WaitingError | None:
    return waiting.read_error(topic, call.question_id.encode(), call.to_bytes(), longest)


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
def test_is_due_when_the_retry_consumer_asks_again(
    topic: str, retry: int, asked_for: float | None, longest: float, seconds: float
) -> None:
    error = CallError(type="quota", status_code=429, message="", retry_after_seconds=asked_for)
    found = read(failed_call(error=error, retry_count=retry), topic, longest)
    assert found
    assert found.due_at == NOW + timedelta(seconds=seconds)
    assert len(found.question_text) == waiting.TEXT_CHARACTERS


def test_what_is_given_up_waits_for_nothing() -> None:
    assert read(failed_call(retry_count=3)) is None


@pytest.mark.parametrize("value", [None, b"", b"no JSON", b"{}"])
def test_what_cannot_be_read_is_left_out(value: bytes | None) -> None:
    assert waiting.read_error(topics.ERROR_OVERLOAD, b"key", value, 600) is None


def test_forgets_what_is_long_past_and_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    old = waiting_error(due_at=NOW - timedelta(minutes=11))
    first = waiting_error(retry=1, due_at=NOW + timedelta(seconds=1))
    second = waiting_error(retry=2, due_at=NOW + timedelta(seconds=2))
    assert list(waiting.remembered([second, old, first], NOW).values()) == [first, second]
    monkeypatch.setattr(waiting, "MOST", 1)
    assert list(waiting.remembered([second, old, first], NOW).values()) == [second]


def test_errors_of_a_question_are_its_own() -> None:
    errors = [waiting_error(), waiting_error(question_id=UNKNOWN)]
    [found] = waiting.as_call_errors(errors, KNOWN)
    assert (found.type, found.due_at) == ("quota", NOW + timedelta(minutes=1))


def test_reads_each_message_once_from_what_is_committed() -> None:
    """Against the mock broker that librdkafka brings."""
    mock = AdminClient({"test.mock.num.brokers": 1})
    [broker] = mock.list_topics(timeout=10).brokers.values()
    address = f"{broker.host}:{broker.port}"
    ends: dict[tuple[str, int], int] = {}

    def send(*calls: FailedCall) -> None:
        producer = Producer({"bootstrap.servers": address})

        def delivered(_error: object, message: object) -> None:
            ends[topics.ERROR_QUOTA, message.partition()] = message.offset() + 1  # type: ignore[attr-defined]

        for call in calls:
            producer.produce(topics.ERROR_QUOTA, call.to_bytes(), call.question_id, partition=0, on_delivery=delivered)
        assert producer.flush(10) == 0

    later = NOW + timedelta(days=36_500)
    send(failed_call(failed_at=later), failed_call(failed_at=later, retry_count=1))
    reader = waiting.ErrorReader(VizSettings(kafka_bootstrap_servers=address))
    start = {(topics.ERROR_QUOTA, 0): 1}
    assert [each.retry for each in _until(reader, ends, start, 1)] == [1]
    send(failed_call(failed_at=later, retry_count=2))
    assert [each.retry for each in _until(reader, ends, start, 2)] == [1, 2]
    # A position beyond the end: the topic was made anew, and reading begins anew.
    reader._positions[topics.ERROR_QUOTA, 0] = 99
    assert {each.retry for each in _until(reader, ends, {(topics.ERROR_QUOTA, 0): 0}, 3)} == {0, 1, 2}


def _until(
    reader: waiting.ErrorReader, ends: dict[tuple[str, int], int], start: dict[tuple[str, int], int], count: int
) -> list[waiting.WaitingError]:
    """A look may end before the client has its connection; the next one goes on where it stopped."""
    found: list[waiting.WaitingError] = []
    for _ in range(10):
        found = reader.read(ends, start)
        if len(found) >= count:
            break
    return found
