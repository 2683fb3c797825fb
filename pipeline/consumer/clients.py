"""Interfaces of the Kafka clients that the loop uses, and the confluent-kafka clients that implement them."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal, Protocol, overload

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, ClusterMetadata, ListOffsetsResultInfo, OffsetSpec

from pipeline.kafka import client_config
from pipeline.producer import Delivered, Outgoing
from pipeline.settings import KafkaSettings

FETCH_BYTES = 65_536
"""Bytes of one fetch from a partition; a larger message is fetched alone. Records that were fetched from a partition
before it is paused are fetched again."""

OnRebalance = Callable[[Any, list[TopicPartition]], None]
"""Called with the client and the partitions that were assigned, revoked or lost."""

OnCommit = Callable[[KafkaError | None, list[TopicPartition]], None]
"""Called with the result of a commit: an error of the whole commit, and partitions, each with its own error."""


class ConsumerClient(Protocol):
    """A member of a consumer group, like `confluent_kafka.Consumer`.

    Only the polling thread calls it. All callbacks run in that thread, within `poll`, `commit` or `close`.
    """

    def subscribe(
        self,
        topics: list[str],
        on_assign: OnRebalance,
        on_revoke: OnRebalance,
        on_lost: OnRebalance,
        on_commit: OnCommit,
    ) -> None:
        """Joins the group."""

    def poll(self, timeout: float) -> confluent_kafka.Message | None:
        """Returns a record, an error in place of one, or None after `timeout` seconds."""

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Stops fetching from partitions, and discards fetched records."""

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Fetches from partitions again."""

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Returns the offset after the last record that `poll` returned."""

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Returns committed offsets with their metadata."""

    @overload
    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[True] = ...) -> None: ...
    @overload
    def commit(self, *, offsets: list[TopicPartition], asynchronous: Literal[False]) -> list[TopicPartition]: ...

    def list_topics(self, topic: str, timeout: float) -> ClusterMetadata:
        """Returns the metadata of a topic."""

    def close(self) -> None:
        """Gives all partitions back and leaves the group."""


class OffsetsClient(Protocol):
    """Reads offsets, like `confluent_kafka.admin.AdminClient`; only the polling thread calls it."""

    def list_offsets(
        self, topic_partition_offsets: dict[TopicPartition, OffsetSpec], **kwargs: Any
    ) -> dict[TopicPartition, Future[ListOffsetsResultInfo]]:
        """Returns a future for the offset of each partition."""


class Sender(Protocol):
    """Sends messages, like `pipeline.producer.Producer`; several threads call it at the same time."""

    def send(self, outgoing: Outgoing, delivered: Delivered) -> None:
        """Sends a message and calls `delivered` once, in this thread or another one."""


@dataclass(frozen=True)
class Clients:
    """The clients of one loop; the loop closes them."""

    consumer: ConsumerClient
    admin: OffsetsClient


class GroupConsumer(confluent_kafka.Consumer):
    """A consumer that takes the callback for commits at `subscribe`, with the other callbacks."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._on_commit: OnCommit | None = None
        super().__init__(config | {"on_commit": self._committed})

    def subscribe(  # type: ignore[override]
        self,
        topics: list[str],
        on_assign: OnRebalance,
        on_revoke: OnRebalance,
        on_lost: OnRebalance,
        on_commit: OnCommit,
    ) -> None:
        """Joins the group."""
        self._on_commit = on_commit
        super().subscribe(topics, on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def _committed(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if self._on_commit:
            self._on_commit(error, partitions)


def connect(settings: KafkaSettings, group: str, drain_seconds: float) -> Clients:
    """Makes the clients of a member of `group`; they connect in the background.

    Args:
        settings: Where the brokers are.
        group: Consumer group, and client id in the broker's logs.
        drain_seconds: Maximum time without a poll, while the loop drains.
    """
    # The admin client has its own connections: on those of the consumer it would wait for the fetch in progress, 0.4 s.
    # The consumer already reports errors of the broker.
    admin = AdminClient(client_config(settings, group) | {"error_cb": lambda _: None})
    consumer = GroupConsumer(
        client_config(settings, group)
        | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 10_000,
            "heartbeat.interval.ms": 2_000,
            "fetch.message.max.bytes": FETCH_BYTES,
            "queued.max.messages.kbytes": 16_384,
            "topic.metadata.refresh.interval.ms": 10_000,
            # A member does not poll while it drains; after this time the group would remove it.
            "max.poll.interval.ms": max(300_000, round(drain_seconds + 60) * 1000),
        }
    )
    return Clients(consumer, admin)
