"""kafka-init: a one-shot that creates the seven topics."""

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

from kafka_init.plan import OFFSETS_RETENTION, OFFSETS_RETENTION_MINUTES, offsets_expire_early, plan, too_low
from pipeline import command, topics
from pipeline.kafka import client_config
from pipeline.settings import KafkaSettings

log = structlog.get_logger()

TIMEOUT_SECONDS = 30


def main() -> None:
    """Creates what is missing and exits; exits with status 1 when the broker is unavailable or refuses a request."""
    settings = command.start("kafka-init", KafkaSettings)
    client = AdminClient(client_config(settings, "kafka-init"))
    try:
        apply(client)
    except KafkaException as error:
        log.error("failed to prepare the topics", error=str(error))
        sys.exit(1)


def apply(client: AdminClient) -> None:
    """Brings the topics to the definition in `pipeline.topics`, and warns if the broker deletes offsets too early.

    Raises:
        KafkaException: The broker is unavailable or refuses a request.
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
    _raise_settings(client)
    _check_offsets_retention(client)
    log.info("prepared the topics", created=[t.name for t in todo.create], grown=[t.name for t in todo.grow])


def _raise_settings(client: AdminClient) -> None:
    """Raises topic settings that are too low, because the topic is from an older release or was changed."""
    wanted = {ConfigResource(ResourceType.TOPIC, each.name): each.config for each in topics.ALL if each.config}
    changes = []
    for resource, found in _settings(client, list(wanted)).items():
        missing = too_low(wanted[resource], found)
        for name, value in missing.items():
            log.warning(
                "raised a setting of a topic", topic=resource.name, setting=name, was=found.get(name), now=value
            )
        if missing:
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in missing.items()
            ]
            changes.append(ConfigResource(ResourceType.TOPIC, resource.name, incremental_configs=entries))
    if changes:
        _wait(client.incremental_alter_configs(changes).values())


def _check_offsets_retention(client: AdminClient) -> None:
    """Warns of brokers that delete the offsets of a group before its messages."""
    brokers = [
        ConfigResource(ResourceType.BROKER, str(number))
        for number in client.list_topics(timeout=TIMEOUT_SECONDS).brokers
    ]
    for broker, found in _settings(client, brokers).items():
        minutes = found.get(OFFSETS_RETENTION)
        if offsets_expire_early(minutes):
            log.warning(
                "the broker forgets offsets before messages: after a longer stop a group reads its topics from the "
                "start, and calls are paid for again. Set KAFKA_OFFSETS_RETENTION_MINUTES",
                broker=broker.name,
                minutes=minutes,
                needed=OFFSETS_RETENTION_MINUTES,
            )


def _settings(client: AdminClient, resources: list[ConfigResource]) -> dict[ConfigResource, dict[str, str | None]]:
    """Returns the settings of topics or of a broker, the broker's defaults included."""
    found: dict[ConfigResource, dict[str, str | None]] = {}
    for each in resources:  # a broker only describes itself, so there is one request for each
        for resource, future in client.describe_configs([each]).items():
            found[resource] = {name: entry.value for name, entry in future.result(TIMEOUT_SECONDS).items()}
    return found


def _wait(futures: "Iterable[Future[Any]]") -> None:
    for future in futures:
        future.result(TIMEOUT_SECONDS)


if __name__ == "__main__":
    main()
