"""Reads the errors that wait for a retry, and their due times, from the two error topics.

An error is written to the database only with the question's next record. Until then it is only on its topic; the retry
consumers commit it once the question was asked again. Each message is read once. Nothing is committed: this reader is
not a member of a group.
"""

import time
from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from pipeline import messages, topics
from pipeline.delays import OVERLOAD, QUOTA, Delays
from pipeline.kafka import client_config
from pipeline.messages import MAX_RETRIES, InvalidMessage, RetryableFailure
from pipeline.offsets import MAX_METADATA_BYTES, Progress
from pipeline.settings import PatienceSettings
from viz_service.schemas import ErrorRecord, WaitingError
from viz_service.settings import VizSettings

ERROR_TOPICS: Mapping[str, Delays] = {topics.ERROR_OVERLOAD: OVERLOAD, topics.ERROR_QUOTA: QUOTA}
REMEMBERED = timedelta(minutes=10)
"""How long an error is remembered after its due time; by then, most are in the database."""
MAX_ERRORS = 5_000
"""Limit of remembered errors; the oldest are dropped first."""
MAX_DUE_TIMES = 100_000
"""Limit of remembered due times, for each partition."""
FULL_METADATA_BYTES = MAX_METADATA_BYTES - 32
"""From this length on, the metadata of a commit may lack ranges, because they did not fit."""
READ_SECONDS = 1.5
TEXT_CHARACTERS = 120

Key = tuple[str, int, int]
"""Question id, attempt, retry."""

Partition = tuple[str, int]


@dataclass(frozen=True)
class Errors:
    """The errors that wait for a retry.

    Attributes:
        known: Errors that wait or waited recently, by due time.
        due: Due time of the first unfinished message, by topic; it may have passed.
    """

    known: list[WaitingError]
    due: Mapping[str, datetime]


def read_error(topic: str, key: bytes | None, value: bytes | None, settings: PatienceSettings) -> WaitingError | None:
    """Parses a message of an error topic; None if it is unreadable or not retried. Pure."""
    try:
        failed = messages.read(topic, key, value)
    except InvalidMessage:
        return None
    if not isinstance(failed, RetryableFailure):
        return None
    max_retries = settings.max_quota_retries if topic == topics.ERROR_QUOTA else None
    if failed.error.counts_as_retry and failed.retry_count >= (MAX_RETRIES if max_retries is None else max_retries):
        return None
    delays = replace(
        ERROR_TOPICS[topic], longest_seconds=settings.retry_after_max, patience_seconds=settings.llm_patience
    )
    return WaitingError(
        question_id=failed.question_id,
        question_text=failed.question_text[:TEXT_CHARACTERS],
        attempt=failed.processing_attempts,
        retry=failed.retry_count,
        type=failed.error.type,
        cause=failed.error.cause,
        status_code=failed.error.status_code,
        message=failed.error.message,
        counts_as_retry=failed.error.counts_as_retry,
        times=failed.errors[-1].times if failed.errors else 1,
        failed_at=failed.failed_at,
        # Without the jitter of the retry, which is at most a quarter of a second.
        due_at=delays.due_at(failed, 0),
    )


def remembered(known: Iterable[WaitingError], now: datetime) -> dict[Key, WaitingError]:
    """Returns the errors to keep, the last `MAX_ERRORS` by due time. Pure."""
    recent = sorted((each for each in known if each.due_at >= now - REMEMBERED), key=lambda each: each.due_at)
    return {(each.question_id, each.attempt, each.retry): each for each in recent[-MAX_ERRORS:]}


def as_error_records(known: Iterable[WaitingError], question_id: str) -> list[ErrorRecord]:
    """Returns the errors of one question, in the form for its page. Pure."""
    return [
        ErrorRecord.model_validate(each.model_dump(include=set(ErrorRecord.model_fields)))
        for each in known
        if each.question_id == question_id
    ]


def unfinished(due: Mapping[int, datetime], progress: Progress) -> dict[int, datetime]:
    """Returns the due times, by offset, of the messages that a group has not finished. Pure."""
    starts = [each.start for each in progress.ahead]

    def is_finished(offset: int) -> bool:
        place = bisect(starts, offset)
        return offset < progress.position or (place > 0 and offset in progress.ahead[place - 1])

    return {offset: at for offset, at in due.items() if not is_finished(offset)}


def first_due(due: Mapping[int, datetime], progress: Progress) -> datetime | None:
    """Returns the due time of the first unfinished message, which may have passed; None if there is none. Pure.

    For messages beyond the ranges that fit into the metadata of the commit it is unknown whether they are finished.
    They are left out.
    """
    full = len(progress.metadata) >= FULL_METADATA_BYTES
    return min((at for offset, at in due.items() if not full or offset < progress.ahead[-1].stop), default=None)


class ErrorReader:
    """Follows the error topics."""

    def __init__(self, settings: VizSettings) -> None:
        self._settings = settings
        self._client: Consumer | None = None
        self._positions: dict[Partition, int] = {}
        self._known: dict[Key, WaitingError] = {}
        self._due: dict[Partition, dict[int, datetime]] = {}
        """Due times of messages that may be unfinished, by offset."""

    def read(self, ends: Mapping[Partition, int], done: Mapping[Partition, Progress]) -> Errors:
        """Reads new messages and returns all known errors.

        Args:
            ends: Offset after the last message by topic and partition.
            done: Finished messages by partition; reading begins after them.

        Raises:
            KafkaException: The broker is unavailable.
        """
        partitions = {each: end for each, end in ends.items() if each[0] in ERROR_TOPICS}
        self._assign(partitions, done)
        until = time.monotonic() + READ_SECONDS
        while self._client and self._behind(partitions) and time.monotonic() < until:
            for record in self._client.consume(500, timeout=0.2):
                self._take(record)
        self._known = remembered(self._known.values(), datetime.now(UTC))
        due: dict[str, datetime] = {}
        for each in partitions:
            self._due[each] = unfinished(self._due[each], done[each])
            first = first_due(self._due[each], done[each])
            if first:
                due[each[0]] = min(first, due.get(each[0], first))
        return Errors(list(self._known.values()), due)

    def _behind(self, partitions: Mapping[Partition, int]) -> bool:
        return any(self._positions[each] < end for each, end in partitions.items())

    def _assign(self, partitions: Mapping[Partition, int], done: Mapping[Partition, Progress]) -> None:
        # A position beyond the end means that the topic was recreated.
        new = [each for each, end in partitions.items() if self._positions.get(each, end + 1) > end]
        if not new:
            return
        if self._client is None:
            config = {"group.id": "viz-service", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
            self._client = Consumer(client_config(self._settings, "viz-service") | config)
        for each in new:
            self._positions[each] = done[each].position
            self._due[each] = {}
        self._client.assign([TopicPartition(*each, offset) for each, offset in self._positions.items()])

    def _take(self, record: Message) -> None:
        error = record.error()
        if error:
            raise KafkaException(error)
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        # A record without an error has all three.
        assert topic is not None
        assert partition is not None
        assert offset is not None
        self._positions[topic, partition] = offset + 1
        found = read_error(topic, record.key(), record.value(), self._settings)
        if found:
            self._known[found.question_id, found.attempt, found.retry] = found
        if len(self._due[topic, partition]) < MAX_DUE_TIMES:
            # A message that does not wait is due now.
            self._due[topic, partition][offset] = found.due_at if found else datetime.now(UTC)
