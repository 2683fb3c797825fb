"""Partitions that are assigned to this member."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import confluent_kafka
from confluent_kafka import TopicPartition

from pipeline.messages import RecordPosition
from pipeline.offsets import LowWatermark, Progress

PartitionKey = tuple[str, int]
"""Topic and number of a partition."""


@dataclass(eq=False)
class Partition:
    """A partition while it is assigned to this member.

    `InFlight.changed` guards it. `closing` is an event because handler threads read it without the lock.

    Attributes:
        watermark: Tracks which of its messages are finished.
        closing: Set when no further message of the partition may be started.
        closed: True when another member may have it; messages that still finish here do not count.
        committed: Last committed progress, as far as this member knows.
    """

    watermark: LowWatermark = field(default_factory=LowWatermark)
    closing: threading.Event = field(default_factory=threading.Event)
    closed: bool = False
    committed: Progress | None = None


def of_keys(keys: Iterable[PartitionKey]) -> list[TopicPartition]:
    """Returns partitions in the form of confluent-kafka."""
    return [TopicPartition(*key) for key in keys]


def keys_of(partitions: Iterable[TopicPartition]) -> list[PartitionKey]:
    """Returns the keys of partitions in the form of confluent-kafka."""
    return [(each.topic, each.partition) for each in partitions]


def names(keys: Iterable[PartitionKey]) -> list[str]:
    """Returns names of partitions for the log."""
    return [f"{topic}/{number}" for topic, number in keys]


def key_of(record: confluent_kafka.Message) -> PartitionKey:
    """Returns the partition of a record without error."""
    topic, partition = record.topic(), record.partition()
    # A record without error has both.
    assert topic is not None
    assert partition is not None
    return topic, partition


def source_of(record: confluent_kafka.Message) -> RecordPosition:
    """Returns the position of a record without error."""
    topic, partition = key_of(record)
    offset = record.offset()
    assert offset is not None
    return RecordPosition(topic=topic, partition=partition, offset=offset)
