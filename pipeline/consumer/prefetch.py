"""Buffer of records that are read and not started yet."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import confluent_kafka

from pipeline.consumer.clients import ConsumerClient
from pipeline.consumer.partitions import PartitionKey, key_of, of_keys

MAX_RECORDS, MAX_BYTES = 256, 1_048_576
"""Limits of the buffer of one partition; a partition whose buffer is full is paused."""


@dataclass(eq=False)
class _Buffer:
    """Prefetched records of one partition."""

    records: deque[confluent_kafka.Message] = field(default_factory=deque)
    bytes: int = 0

    @property
    def full(self) -> bool:
        return len(self.records) >= MAX_RECORDS or self.bytes >= MAX_BYTES

    def put(self, record: confluent_kafka.Message) -> None:
        self.records.append(record)
        self.bytes += len(record)

    def take(self) -> confluent_kafka.Message:
        record = self.records.popleft()
        self.bytes -= len(record)
        return record


class Prefetcher:
    """Keeps prefetched records of each assigned partition and serves the partitions in turn.

    The polling thread owns it: no other thread calls it, and it has no lock.
    """

    def __init__(self, client: ConsumerClient) -> None:
        self._client = client
        self._buffers: dict[PartitionKey, _Buffer] = {}
        """In the order in which the partitions are served."""
        self._paused: set[PartitionKey] = set()
        """Revoked partitions stay in it: librdkafka keeps a partition paused that is revoked and assigned again."""

    def add(self, key: PartitionKey) -> None:
        """Adds an assigned partition."""
        self._buffers[key] = _Buffer()

    def remove(self, keys: Iterable[PartitionKey]) -> None:
        """Drops partitions and their records."""
        for key in keys:
            self._buffers.pop(key, None)

    def put(self, record: confluent_kafka.Message) -> None:
        """Keeps a record of an assigned partition until it is started."""
        self._buffers[key_of(record)].put(record)

    def has_records(self) -> bool:
        """Returns whether there is a record to start."""
        return any(each.records for each in self._buffers.values())

    def take(self) -> tuple[PartitionKey, confluent_kafka.Message] | None:
        """Returns the next record to start, from the partitions in turn; None when there is none."""
        key = next((key for key, each in self._buffers.items() if each.records), None)
        if key is None:
            return None
        buffer = self._buffers.pop(key)
        self._buffers[key] = buffer  # moved to the end of the order
        return key, buffer.take()

    def idle(self) -> set[PartitionKey]:
        """Returns the partitions that the client should be reading: not paused, and with an empty buffer."""
        return {key for key, each in self._buffers.items() if key not in self._paused and not each.records}

    def pause_and_resume(self) -> None:
        """Pauses partitions whose buffer is full, and resumes those whose buffer is empty.

        It pauses single partitions only. If all were paused at once, librdkafka would discard the fetched records of
        the others and serve the first partition of its list again and again (librdkafka#2177).
        """
        full = {key for key, each in self._buffers.items() if each.full} - self._paused
        empty = {key for key in self._paused if key in self._buffers and not self._buffers[key].records}
        if full:
            self._client.pause(of_keys(full))
        if empty:
            self._client.resume(of_keys(empty))
        self._paused = (self._paused | full) - empty
