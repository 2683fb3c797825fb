"""Partitions that the client does not read although they grow.

A client can look healthy and yet not read one of its partitions. Only a new client helps then: the loop stops its
heartbeat, and so the process ends.
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
"""Between two checks."""


class UnreadGrowth(Generic[K]):
    """Finds logs that grow and are not read, from one check to the next. Pure.

    Growth is required because an end beyond the position says little: markers of transactions, which no reader ever
    sees, are at the end of a partition as well.
    """

    CHECKS = 2
    """Checks in a row at which it had grown; at a single one records may have arrived and not been read yet."""

    def __init__(self) -> None:
        self._seen: dict[K, tuple[int, int, int]] = {}  # position, end, checks at which it had grown

    def stalled(self, found: Mapping[K, tuple[int, int]]) -> list[K]:
        """Takes position and end of each that should be read now; returns those that are stalled.

        One that is missing is not to be read now: counting starts again.
        """
        seen = {}
        for key, (position, end) in found.items():
            position_before, end_before, grown = self._seen.get(key, (position, end, 0))
            moved = position != position_before
            seen[key] = position, end, 0 if moved else grown + (end > end_before)
        self._seen = seen
        return [key for key, (_, _, grown) in seen.items() if grown >= self.CHECKS]


class StallDetector:
    """Compares positions of the client with the ends of its partitions, every `CHECK_SECONDS`.

    The polling thread owns it. The futures of the admin client are completed in a thread of that client; the detector
    asks only whether they are done, and waits for none.
    """

    def __init__(self, clients: Clients, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.stalled = False
        """Whether the last check found a partition that is stalled."""
        self._clients = clients
        self._monotonic = monotonic
        self._check_at = 0.0
        self._growth: UnreadGrowth[PartitionKey] = UnreadGrowth()
        self._ends: dict[PartitionKey, Future[ListOffsetsResultInfo]] = {}
        """Of the partitions that were to be read at the last check: asked then, looked at in the next one."""

    def is_due(self) -> bool:
        """Returns whether it is time for a check."""
        return self._monotonic() >= self._check_at

    def check(self, idle: Collection[PartitionKey]) -> None:
        """Compares the positions of now with the ends that were asked for at the last check, and asks for new ends.

        Args:
            idle: Partitions of which the client should read; for others it is right to read nothing.
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
            isolation_level=IsolationLevel.READ_COMMITTED,  # nobody may read messages of an open transaction
            request_timeout=CHECK_SECONDS,
        )
        self._ends = {(each.topic, each.partition): future for each, future in futures.items()}
