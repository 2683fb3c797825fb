"""The errors on their way: calls that failed, read from the two error topics, and when they are due again.

The database hears of an error with the question's next record only. Who waits is on the topics: the retry consumers
commit an error once it has been asked again. Each message is read once; nothing is committed, this is no member of any
group.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline import messages, topics
from pipeline.delays import OVERLOAD, QUOTA, Delays
from pipeline.kafka import client_config
from pipeline.messages import MAX_RETRIES, FailedCall, Unreadable
from viz_service.schemas import CallError, WaitingError
from viz_service.settings import VizSettings

ERROR_TOPICS: Mapping[str, Delays] = {topics.ERROR_OVERLOAD: OVERLOAD, topics.ERROR_QUOTA: QUOTA}
REMEMBERED = timedelta(minutes=10)
"""How long an error that was asked again is remembered: until then, most are in the database."""
MOST = 5_000
"""Errors that are remembered at most; the oldest go first."""
READ_SECONDS = 1.5
TEXT_CHARACTERS = 120

Key = tuple[str, int, int]
"""Question id, attempt, retry."""


def read_error(topic: str, key: bytes | None, value: bytes | None, longest_seconds: float) -> WaitingError | None:
    """Reads a message of an error topic; None for one that cannot be read, or is not tried again. Pure."""
    try:
        failed = messages.read(topic, key, value)
    except Unreadable:
        return None
    if not isinstance(failed, FailedCall) or failed.retry_count >= MAX_RETRIES:
        return None
    delays = replace(ERROR_TOPICS[topic], longest_seconds=longest_seconds)
    return WaitingError(
        question_id=failed.question_id,
        question_text=failed.question_text[:TEXT_CHARACTERS],
        attempt=failed.processing_attempts,
        retry=failed.retry_count,
        type=failed.error.type,
        status_code=failed.error.status_code,
        message=failed.error.message,
        failed_at=failed.failed_at,
        # Without the jitter, which is drawn when the retry is scheduled: a quarter of a second at most.
        due_at=delays.due_at(failed.failed_at, failed.retry_count, failed.error.retry_after_seconds, 0),
    )


def remembered(known: Iterable[WaitingError], now: datetime) -> dict[Key, WaitingError]:
    """Returns those that are still of interest, the last `MOST` by due time. Pure."""
    recent = sorted((each for each in known if each.due_at >= now - REMEMBERED), key=lambda each: each.due_at)
    return {(each.question_id, each.attempt, each.retry): each for each in recent[-MOST:]}


def as_call_errors(known: Iterable[WaitingError], question_id: str) -> list[CallError]:
    """Returns the errors of one question as its page shows them. Pure."""
    return [
        CallError.model_validate(each.model_dump(include=set(CallError.model_fields)))
        for each in known
        if each.question_id == question_id
    ]


class ErrorReader:
    """Follows the error topics."""

    def __init__(self, settings: VizSettings) -> None:
        self._settings = settings
        self._client: Consumer | None = None
        self._positions: dict[tuple[str, int], int] = {}
        self._known: dict[Key, WaitingError] = {}

    def read(self, ends: Mapping[tuple[str, int], int], start: Mapping[tuple[str, int], int]) -> list[WaitingError]:
        """Reads what is new and returns what is known, by due time.

        Args:
            ends: Offset after the last message by topic and partition.
            start: Where to begin on a partition: what is below has been asked again, or is gone.

        Raises:
            KafkaException: The broker is away.
        """
        partitions = {each: end for each, end in ends.items() if each[0] in ERROR_TOPICS}
        self._assign(partitions, start)
        until = time.monotonic() + READ_SECONDS
        while self._client and self._behind(partitions) and time.monotonic() < until:
            for record in self._client.consume(500, timeout=0.2):
                self._take(record)
        self._known = remembered(self._known.values(), datetime.now(UTC))
        return list(self._known.values())

    def _behind(self, partitions: Mapping[tuple[str, int], int]) -> bool:
        return any(self._positions[each] < end for each, end in partitions.items())

    def _assign(self, partitions: Mapping[tuple[str, int], int], start: Mapping[tuple[str, int], int]) -> None:
        # A position beyond the end means that the topic was made anew.
        new = [each for each, end in partitions.items() if self._positions.get(each, end + 1) > end]
        if not new:
            return
        if self._client is None:
            config = {"group.id": "viz-service", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
            self._client = Consumer(client_config(self._settings, "viz-service") | config)
        for each in new:
            self._positions[each] = start.get(each, 0)
        self._client.assign([TopicPartition(*each, offset) for each, offset in self._positions.items()])

    def _take(self, record: Message) -> None:
        error = record.error()
        if error:
            raise KafkaException(error)
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        # A record without error has all three.
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self._positions[topic, partition] = offset + 1
        found = read_error(topic, record.key(), record.value(), self._settings.retry_after_max)
        if found:
            self._known[found.question_id, found.attempt, found.retry] = found
