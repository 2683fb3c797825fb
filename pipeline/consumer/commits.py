"""Commits of offsets."""

import threading
import time
from collections.abc import Callable, Mapping

import confluent_kafka
import structlog
from confluent_kafka import KafkaError, TopicPartition

from pipeline.consumer.clients import ConsumerClient
from pipeline.consumer.partitions import Partition, PartitionKey
from pipeline.offsets import Progress

log = structlog.get_logger()

INTERVAL_SECONDS = 1.0
COMMITTED_TIMEOUT_SECONDS = 5.0
"""Timeout for reading committed offsets from the broker."""
LAST_COMMIT_SECONDS = 3.0
"""Time for which the last commit of partitions is retried."""
RETRY_SECONDS = 0.2


class Commits:
    """Commits the progress of the assigned partitions.

    The polling thread owns it, and runs its callback `on_commit` within a call of the client. Other threads finish
    messages at the same time, so it holds `lock`, which is `InFlight.changed`, while it reads or writes partitions. It
    never holds the lock while it calls the client.
    """

    def __init__(
        self,
        client: ConsumerClient,
        partitions: Mapping[PartitionKey, Partition],
        lock: threading.Condition,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes the dictionary of assigned partitions, which changes with each rebalance."""
        self._client = client
        self._partitions = partitions
        self._lock = lock
        self._monotonic = monotonic
        self._sleep = sleep
        self._commit_at = 0.0

    def read_committed(self, partitions: list[TopicPartition]) -> dict[PartitionKey, Progress | None]:
        """Reads the progress that previous members have committed; returns nothing when the broker does not answer."""
        try:
            return {
                (each.topic, each.partition): _progress(each)
                for each in self._client.committed(partitions, COMMITTED_TIMEOUT_SECONDS)
            }
        except confluent_kafka.KafkaException as error:
            log.warning("failed to read committed progress; finished messages will be repeated", error=str(error))
            return {}

    def commit_finished(self) -> None:
        """Commits new progress in the background, at most once in `INTERVAL_SECONDS`."""
        if self._monotonic() < self._commit_at:
            return
        self._commit_at = self._monotonic() + INTERVAL_SECONDS
        offsets = self.uncommitted(self._partitions)
        if offsets:
            self._client.commit(offsets=offsets, asynchronous=True)

    def uncommitted(self, partitions: Mapping[PartitionKey, Partition]) -> list[TopicPartition]:
        """Returns the progress of those partitions whose last known commit differs from it."""
        with self._lock:
            return [
                TopicPartition(topic, number, progress.position, progress.metadata)
                for (topic, number), partition in partitions.items()
                if (progress := partition.watermark.progress) and progress != partition.committed
            ]

    def commit_last(self, offsets: list[TopicPartition]) -> None:
        """Commits before partitions are given back, and waits for the result.

        It retries, because a group that rebalances refuses commits for a moment.
        """
        until = self._monotonic() + LAST_COMMIT_SECONDS
        while True:
            try:
                self._client.commit(offsets=offsets, asynchronous=False)
                return
            except confluent_kafka.KafkaException as error:
                if self._monotonic() > until:
                    log.warning("failed to commit; messages will be read again", error=str(error))
                    return
                log.info("failed to commit; trying again", error=str(error))
                self._sleep(RETRY_SECONDS)

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Records what is committed. Failed offsets stay uncommitted, so the next commit includes them."""
        if error:
            log.warning("failed to commit; trying again", error=error.str())
            return
        with self._lock:
            for each in partitions:
                partition = self._partitions.get((each.topic, each.partition))
                if partition and not each.error:
                    partition.committed = _progress(each)


def _progress(committed: TopicPartition) -> Progress | None:
    return Progress.of(committed.offset, committed.metadata or "") if committed.offset >= 0 else None
