"""Which questions the topics still hold: what was written and is not worked off.

Every pending question whose message is not lost is there. An offset is committed only after what follows from its
message was acknowledged by the broker, or written to PostgreSQL (by Flink with a checkpoint, which waits until all that
came before it has left the job). So at each moment a pending question has a message in some working topic at or behind
the committed offset of the group that reads it. Take a moment after the last committed offset was read and before the
first end was. The message that the question has then lies at or behind the committed offset as it was read, for those
only grow, and before the end as it was read. So it is in the range that is searched, whatever moved on meanwhile.
Messages that are finished ahead of the committed offset are in it, too: a question may be taken for present a while
longer, never for lost.

Only with Flink's `exactly-once` may a question be invisible for a moment: offsets are committed and transactions end
one after the other. Then its copy is dropped by whoever reads both.
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
"""Of one request to the broker."""
READ_SECONDS = 120
"""After which a search ends without a result."""
PAUSE_RECORDS, PAUSE_SECONDS = 500, 0.005
"""So many records, then a pause: whoever else works in this process has the processor, too."""

Partition = tuple[str, int]
"""Topic and number."""
Place = tuple[Partition, int]
"""Partition and offset."""

_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}", re.ASCII)


def unfinished(committed: int, first: int, end: int) -> range:
    """Returns the offsets of a partition that are not worked off.

    Args:
        committed: Offset up to which its group has read; negative: none. One that the partition does not have (any
            more) is as good as none: the group starts again with the first message.
        first: Offset of the first message that is still there.
        end: Offset behind the last one.
    """
    return range(committed if first <= committed <= end else first, end)


def question_of(key: bytes | None, value: bytes | None) -> str | None:
    """Returns the question to which a message belongs: its key, or what its value says; None when neither tells."""
    try:
        text = (key or b"").decode()
        if not _ID.fullmatch(text):
            body = json.loads(value or b"null")
            text = str(body.get("question_id")) if isinstance(body, dict) else ""
    except (ValueError, RecursionError):  # no UTF-8, no JSON
        return None
    return text if _ID.fullmatch(text) else None


class Backlog:
    """Searches the working topics; it belongs to no consumer group and commits nothing."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Prepares a search; nothing connects until the first one."""
        self._config = client_config(settings, client_id)
        self._client_id = client_id
        self._admin: AdminClient | None = None
        self._places: dict[str, Place] = {}
        """Where questions were seen by the last search: those that are there still need no reading."""

    def find(self, wanted: Collection[str], stop: threading.Event) -> set[str]:
        """Returns which of the questions have a message that is not worked off.

        Memory is bounded by the number of questions that are wanted.

        Args:
            wanted: Question ids.
            stop: Ends it early.

        Raises:
            Unavailable: Kafka is away or lacks a topic, the topics could not be read to their ends in `READ_SECONDS`,
                or `stop` was set.
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
        # Only now, see above.
        first = _offsets(self._admin, list(committed), OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = _offsets(self._admin, list(committed), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {key: unfinished(offset, first[key], end[key]) for key, offset in committed.items()}

    def _read(self, ranges: dict[Partition, range], missing: set[str], stop: threading.Event) -> None:
        """Reads until nothing is missing any longer, or all is read; notes where each question was seen."""
        until = time.monotonic() + READ_SECONDS
        consumer = confluent_kafka.Consumer(
            self._config
            | {
                "group.id": self._client_id,  # the client wants one; it neither joins it nor commits
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
                    raise Unavailable(f"what waits in Kafka could not be read in {READ_SECONDS} s")
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
        """Takes a record in; returns whether its partition is read to the end."""
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
    told = {(each.topic, each.partition): each for each in _result(future).topic_partitions}
    for each in told.values():
        if each.error:
            raise confluent_kafka.KafkaException(each.error)
    return {key: told[key].offset if key in told else -1 for key in partitions}


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
