"""Finds the questions that have an unhandled message in the topics.

The search finds every pending question whose message is not lost. Proof: An offset is committed only after all messages
that follow from its message are acknowledged by the broker, or written to PostgreSQL (Flink commits with a checkpoint,
which waits until all earlier messages have left the job). So at each moment, a pending question has a message in a
working topic at or after the committed offset of the group that reads it. Consider a moment after all committed offsets
were read and before the first end offset was read. The message that the question has at that moment is at or after the
committed offset that was read, because committed offsets only grow, and before the end offset that was read. So it is
in the searched range, even if the question has moved on meanwhile. The range also contains messages that were finished
beyond the committed offset. Because of them, a question may be considered present for longer, but never lost.

Exception: with Flink's `exactly-once`, a question may be invisible for a moment, because offsets are committed and
transactions end one after the other. Readers then drop the second copy of the question.
"""

import json
import re
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import confluent_kafka
import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

from pipeline import topics
from pipeline.errors import Unavailable
from pipeline.kafka import client_config
from pipeline.question import ID_DIGITS
from pipeline.settings import KafkaSettings

log = structlog.get_logger()

TIMEOUT_SECONDS = 10
"""Timeout of one request to the broker."""
READ_SECONDS = 120
"""Time after which a search ends without a result."""
PAUSE_RECORDS, PAUSE_SECONDS = 500, 0.005
"""After this number of records the search pauses, so that other threads of the process can run."""

Partition = tuple[str, int]
"""Topic and number."""
Place = tuple[Partition, int]
"""Partition and offset."""

_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}", re.ASCII)


def unfinished(committed: int, first: int, end: int) -> range:
    """Returns the offsets of a partition whose messages are not handled yet.

    Args:
        committed: Committed offset of its group; negative: none. An offset that the partition does not have (any more)
            is treated as missing: the group would start again with the first message.
        first: Offset of the first message that still exists.
        end: Offset after the last message.
    """
    return range(committed if first <= committed <= end else first, end)


def question_of(key: bytes | None, value: bytes | None) -> str | None:
    """Returns the question id of a message, from its key or its value; None when both contain none."""
    try:
        text = (key or b"").decode()
        if not _ID.fullmatch(text):
            body = json.loads(value or b"null")
            text = str(body.get("question_id")) if isinstance(body, dict) else ""
    except (ValueError, RecursionError):  # no UTF-8, no JSON
        return None
    return text if _ID.fullmatch(text) else None


class Backlog:
    """Searches the working topics, without a consumer group and without commits."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Prepares the search; it connects at the first search."""
        self._config = client_config(settings, client_id)
        self._client_id = client_id
        self._admin: AdminClient | None = None
        self._places: dict[str, Place] = {}
        """Positions at which the last search found questions; questions still at their position need no new search."""

    def find(self, wanted: Collection[str], stop: threading.Event) -> set[str]:
        """Returns which of the questions have an unhandled message.

        The memory is bounded by the number of wanted questions.

        Args:
            wanted: Question ids.
            stop: Ends the search early.

        Raises:
            Unavailable: Kafka is unavailable or has not all topics, the topics could not be read to their ends in
                `READ_SECONDS`, or `stop` was set.
        """
        try:
            ranges = self._ranges()
            self._places = {
                each: (partition, offset)
                for each, (partition, offset) in self._places.items()
                if each in wanted and offset in ranges.get(partition, ())
            }
            missing = set(wanted) - self._places.keys()
            if missing:
                self._read({key: each for key, each in ranges.items() if each}, missing, stop)
        except confluent_kafka.KafkaException as error:
            raise Unavailable(f"Kafka: {error.args[0].str()}") from error
        except TimeoutError as error:
            raise Unavailable("Kafka: no answer in time") from error
        return set(self._places)

    def _ranges(self) -> Mapping[Partition, range]:
        if self._admin is None:
            self._admin = AdminClient(self._config)
        found = self._admin.list_topics(timeout=TIMEOUT_SECONDS).topics
        absent = [each.name for each in topics.WORKING if each.name not in found]
        if absent:
            raise Unavailable(f"Kafka has no topic {', '.join(absent)}")
        by_group: dict[str, list[Partition]] = {}
        for topic in topics.WORKING:
            partitions = [(topic.name, number) for number in found[topic.name].partitions]
            by_group.setdefault(topic.group, []).extend(partitions)
        committed: dict[Partition, int] = {}
        for group, partitions in by_group.items():
            committed |= _committed(self._admin, group, partitions)
        # After the committed offsets; the proof at the top of this module requires this order.
        first = _offsets(self._admin, list(committed), OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = _offsets(self._admin, list(committed), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {key: unfinished(offset, first[key], end[key]) for key, offset in committed.items()}

    def _read(self, ranges: dict[Partition, range], missing: set[str], stop: threading.Event) -> None:
        """Reads until no question is missing, or all ranges are read; records the position of each question."""
        until = time.monotonic() + READ_SECONDS
        consumer = confluent_kafka.Consumer(
            self._config
            | {
                "group.id": self._client_id,  # required by the client, which does not join the group
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 8_192,
            }
        )
        try:
            consumer.assign([TopicPartition(*key, each.start) for key, each in ranges.items()])
            read = 0
            while ranges and missing:
                if stop.is_set():
                    raise Unavailable("stopped")
                if time.monotonic() > until:
                    raise Unavailable(f"the backlog in Kafka could not be read in {READ_SECONDS} s")
                record = consumer.poll(0.5)
                if record is None:
                    continue
                read += 1
                if self._note(record, ranges, missing):
                    consumer.incremental_unassign([TopicPartition(*_partition(record))])
                if not read % PAUSE_RECORDS:
                    stop.wait(PAUSE_SECONDS)
        finally:
            consumer.close()

    def _note(self, record: confluent_kafka.Message, ranges: dict[Partition, range], missing: set[str]) -> bool:
        """Handles a record; returns whether its partition is read to the end of its range."""
        error = record.error()
        if error and error.code() != confluent_kafka.KafkaError._PARTITION_EOF:
            raise confluent_kafka.KafkaException(error)
        partition, offset = _partition(record), record.offset()
        if partition not in ranges:
            return False
        if offset is not None and offset in ranges[partition] and not error:
            question_id = question_of(record.key(), record.value())
            if question_id in missing:
                missing.discard(question_id)
                self._places[question_id] = (partition, offset)
        if error or offset is None or offset >= ranges[partition].stop - 1:
            del ranges[partition]
            return True
        return False


def _committed(admin: AdminClient, group: str, partitions: Sequence[Partition]) -> dict[Partition, int]:
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(*each) for each in partitions])
    [future] = admin.list_consumer_group_offsets([asked], request_timeout=TIMEOUT_SECONDS).values()
    found = {(each.topic, each.partition): each for each in _result(future).topic_partitions}
    for each in found.values():
        if each.error:
            raise confluent_kafka.KafkaException(each.error)
    return {key: found[key].offset if key in found else -1 for key in partitions}


def _offsets(admin: AdminClient, partitions: Sequence[Partition], spec: OffsetSpec) -> dict[Partition, int]:
    futures: Mapping[TopicPartition, Future[ListOffsetsResultInfo]] = admin.list_offsets(
        {TopicPartition(*each): spec for each in partitions},
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=TIMEOUT_SECONDS,
    )
    return {(each.topic, each.partition): _result(future).offset for each, future in futures.items()}


def _result(future: "Future[Any]") -> Any:
    return future.result(TIMEOUT_SECONDS + 5)


def _partition(record: confluent_kafka.Message) -> Partition:
    topic, number = record.topic(), record.partition()
    # A record without error has both, and so has the end of a partition.
    assert topic is not None
    assert number is not None
    return topic, number
