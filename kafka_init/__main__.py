"""kafka-init: a one-shot that leaves the seven topics behind."""

import sys
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from kafka_init.plan import plan
from pipeline import service, topics
from pipeline.kafka import client_config
from pipeline.settings import KafkaSettings

log = structlog.get_logger()

TIMEOUT_SECONDS = 30


def main() -> None:
    """Creates what is missing and ends; a broker that cannot be reached or refuses ends it with status 1."""
    settings = service.start("kafka-init", KafkaSettings)
    client = AdminClient(client_config(settings, "kafka-init"))
    try:
        apply(client)
    except KafkaException as error:
        log.error("could not prepare the topics", error=str(error))
        sys.exit(1)


def apply(client: AdminClient) -> None:
    """Makes the topics as `pipeline.topics` wants them.

    Raises:
        KafkaException: The broker cannot be reached, or refuses.
    """
    found = client.list_topics(timeout=TIMEOUT_SECONDS).topics
    todo = plan(topics.ALL, {name: len(topic.partitions) for name, topic in found.items()})
    if todo.create:
        new = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=1, config=t.config) for t in todo.create
        ]
        _wait(client.create_topics(new).values())
    if todo.grow:
        _wait(client.create_partitions([NewPartitions(t.name, t.partitions) for t in todo.grow]).values())
    configured = [
        ConfigResource(
            ResourceType.TOPIC,
            topic.name,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic.config.items()
            ],
        )
        for topic in topics.ALL
        if topic.config
    ]
    _wait(client.incremental_alter_configs(configured).values())
    log.info("prepared the topics", created=[t.name for t in todo.create], grown=[t.name for t in todo.grow])


def _wait(futures: "Iterable[Future[Any]]") -> None:
    for future in futures:
        future.result(TIMEOUT_SECONDS)


if __name__ == "__main__":
    main()
