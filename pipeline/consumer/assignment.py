"""Callbacks for partitions that the group assigns to this member, and takes back."""

from collections.abc import Callable
from typing import Any

import confluent_kafka
import structlog
from confluent_kafka import TopicPartition

from pipeline.consumer.clients import ConsumerClient
from pipeline.consumer.commits import COMMITTED_TIMEOUT_SECONDS, Commits
from pipeline.consumer.in_flight import InFlight
from pipeline.consumer.partitions import Partition, PartitionKey, keys_of, names
from pipeline.consumer.prefetch import Prefetcher
from pipeline.offsets import LowWatermark
from pipeline.share import Share

log = structlog.get_logger()


class Assignment:
    """Adds and removes the partitions of this member, and updates its share of the first topic.

    The polling thread owns it and the dictionary of partitions. The client calls its `on_` methods in that thread,
    within `poll` and `close`. The group rebalances cooperatively: each call gets only the partitions that change.
    """

    def __init__(
        self,
        client: ConsumerClient,
        topic: str,
        partitions: dict[PartitionKey, Partition],
        prefetcher: Prefetcher,
        in_flight: InFlight,
        commits: Commits,
        share: Share,
        drain_seconds: float,
        while_draining: Callable[[], None],
    ) -> None:
        """Takes the parts of the loop.

        Args:
            client: Returns how many partitions `topic` has.
            topic: The first topic of the loop; the share is a share of this topic.
            partitions: The assigned partitions; empty at first.
            prefetcher: Gets a buffer for each assigned partition.
            in_flight: Drained before partitions are given back.
            commits: Commits before partitions are given back.
            share: Updated with the part of the topic that this member has.
            drain_seconds: Maximum time to wait for messages in flight.
            while_draining: Called about once a second during that wait.
        """
        self._client = client
        self._topic = topic
        self._topic_partitions = 1
        self._partitions = partitions
        self._prefetcher = prefetcher
        self._in_flight = in_flight
        self._commits = commits
        self._share = share
        self._drain_seconds = drain_seconds
        self._while_draining = while_draining

    def on_assign(self, _client: Any, assigned: list[TopicPartition]) -> None:
        """Continues where the previous members stopped."""
        log.info("got partitions", partitions=names(keys_of(assigned)))
        committed = self._commits.read_committed(assigned)
        for key in keys_of(assigned):
            progress = committed.get(key)
            self._partitions[key] = Partition(LowWatermark(progress), committed=progress)
            self._prefetcher.add(key)
        self._count_partitions()
        self._note_share()

    def on_revoke(self, _client: Any, revoked: list[TopicPartition]) -> None:
        """Drains partitions and commits their progress; another member gets them when this method returns."""
        log.info("gave partitions back", partitions=names(keys_of(revoked)))
        removed = self._remove(revoked)
        partitions = list(removed.values())
        with self._in_flight.changed:
            for each in partitions:
                each.closing.set()
            if not self._in_flight.drain(partitions, self._drain_seconds, self._while_draining):
                count = len(self._in_flight.active(partitions))
                log.warning("left messages unfinished; they will be read again", count=count)
            offsets = self._commits.uncommitted(removed)
        if offsets:
            self._commits.commit_last(offsets)
        self._in_flight.close(partitions)
        self._note_share()

    def on_lost(self, _client: Any, lost: list[TopicPartition]) -> None:
        """Forgets partitions that another member may already have: it is too late to drain and to commit."""
        log.warning("lost partitions", partitions=names(keys_of(lost)))
        self._in_flight.close(list(self._remove(lost).values()))
        self._note_share()

    def _remove(self, partitions: list[TopicPartition]) -> dict[PartitionKey, Partition]:
        keys = keys_of(partitions)
        self._prefetcher.remove(keys)
        return {key: self._partitions.pop(key) for key in keys if key in self._partitions}

    def _count_partitions(self) -> None:
        """Reads how many partitions the topic has; some may have been added since the last time."""
        try:
            metadata = self._client.list_topics(self._topic, COMMITTED_TIMEOUT_SECONDS).topics[self._topic]
            self._topic_partitions = len(metadata.partitions)
        except (confluent_kafka.KafkaException, KeyError) as error:
            log.warning("failed to read the number of partitions", topic=self._topic, error=str(error))

    def _note_share(self) -> None:
        mine = [number for topic, number in self._partitions if topic == self._topic]
        # Partitions that were added since the count may be assigned to this member.
        self._share.set(mine, max([self._topic_partitions, *(number + 1 for number in mine)]))
