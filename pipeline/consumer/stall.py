"""Detects partitions that grow while the client does not read them.

A client can seem healthy although it does not read one of its partitions. Only a new client helps, so the loop stops
its heartbeat, which ends the process.
"""

import time
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import Future
from typing import Generic, TypeVar

import structlog
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo, OffsetSpec

from pipeline.consumer.clients import Clients
from pipeline.consumer.partitions import PartitionKey, names, of_keys

log = structlog.get_logger()

K = TypeVar("K", bound=Hashable)

CHECK_SECONDS = 5.0
"""Time between two checks."""


class UnreadGrowth(Generic[K]):
    """Finds logs that grow from one check to the next and are not read. Pure.

    An end beyond the position is not enough: the end of a partition may consist of transaction markers, which no
    reader ever sees. So the end has to grow.
    """

    CHECKS = 2
    """Consecutive checks with growth; at a single check, records may have arrived and not been read yet."""

    def __init__(self) -> None:
        self._seen: dict[K, tuple[int, int, int]] = {}  # position, end, consecutive checks with growth

    def stalled(self, found: Mapping[K, tuple[int, int]]) -> list[K]:
        """Takes position and end of each log that should be read now; returns the stalled ones.

        The count of a log that is missing in `found` starts again.
        """
        seen = {}
        for key, (position, end) in found.items():
            position_before, end_before, grown = self._seen.get(key, (position, end, 0))
            moved = position != position_before
            seen[key] = position, end, 0 if moved else grown + (end > end_before)
        self._seen = seen
        return [key for key, (_, _, grown) in seen.items() if grown >= self.CHECKS]


class StallDetector:
    """Compares the positions of the client with the ends of its partitions, every `CHECK_SECONDS`.

    The polling thread owns it. The admin client completes its futures in its own thread; the detector only checks
    whether they are done, and never waits for them.
    """

    def __init__(self, clients: Clients, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.stalled = False
        """Whether the last check found a stalled partition."""
        self._clients = clients
        self._monotonic = monotonic
        self._check_at = 0.0
        self._growth: UnreadGrowth[PartitionKey] = UnreadGrowth()
        self._ends: dict[PartitionKey, Future[ListOffsetsResultInfo]] = {}
        """Requested at the last check for the partitions that should be read; evaluated at the next check."""

    def is_due(self) -> bool:
        """Returns whether it is time for a check."""
        return self._monotonic() >= self._check_at

    def check(self, idle: Collection[PartitionKey]) -> None:
        """Compares the current positions with the ends that the last check requested, and requests new ends.

        Args:
            idle: Partitions that the client should be reading.
        """
        self._check_at = self._monotonic() + CHECK_SECONDS
        ends = {
            key: future.result().offset
            for key, future in self._ends.items()
            if key in idle and future.done() and not future.exception()
        }
        positions = {
            (each.topic, each.partition): each.offset for each in self._clients.consumer.position(of_keys(ends))
        }
        unread = self._growth.stalled({key: (positions[key], end) for key, end in ends.items()})
        if unread and not self.stalled:
            log.error("read nothing of partitions that grow", partitions=names(unread))
        self.stalled = bool(unread)
        self._ask_for_ends(idle)

    def _ask_for_ends(self, idle: Collection[PartitionKey]) -> None:
        if not idle:
            self._ends = {}
            return
        asked = {TopicPartition(*key): OffsetSpec.latest() for key in idle}  # type: ignore[no-untyped-call]
        futures = self._clients.admin.list_offsets(
            asked,
            isolation_level=IsolationLevel.READ_COMMITTED,  # messages of an open transaction cannot be read yet
            request_timeout=CHECK_SECONDS,
        )
        self._ends = {(each.topic, each.partition): future for each, future in futures.items()}
