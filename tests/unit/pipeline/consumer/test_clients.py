"""The clients of confluent-kafka as the loop makes them. No broker answers them."""

import confluent_kafka
import pytest

from pipeline.consumer import clients as module
from pipeline.consumer import connect
from pipeline.consumer.clients import GroupConsumer
from pipeline.settings import KafkaSettings

NOWHERE = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")


@pytest.fixture
def configurations(monkeypatch):
    """How `connect` configures the consumer and the admin client."""
    found = {}
    monkeypatch.setattr(module, "GroupConsumer", lambda config: found.setdefault("consumer", config))
    monkeypatch.setattr(module, "AdminClient", lambda config: found.setdefault("admin", config))
    return found


def test_offsets_are_committed_by_the_loop_alone(configurations):
    connect(NOWHERE, "a-group", 8)
    consumer = configurations["consumer"]
    assert (consumer["group.id"], consumer["client.id"], consumer["enable.auto.commit"]) == (
        "a-group",
        "a-group",
        False,
    )
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"
    assert consumer["bootstrap.servers"] == configurations["admin"]["bootstrap.servers"] == "127.0.0.1:1"


@pytest.mark.parametrize(("drain_seconds", "milliseconds"), [(8, 300_000), (600, 660_000)])
def test_a_member_may_drain_without_a_poll(configurations, drain_seconds, milliseconds):
    connect(NOWHERE, "a-group", drain_seconds)
    assert configurations["consumer"]["max.poll.interval.ms"] == milliseconds


def test_errors_of_the_admin_client_are_not_logged(configurations):
    connect(NOWHERE, "a-group", 8)
    assert (
        configurations["admin"]["error_cb"](confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT)) is None
    )


def test_clients_are_made_without_a_broker():
    clients = connect(NOWHERE, "a-group", 8)
    assert isinstance(clients.consumer, confluent_kafka.Consumer)
    clients.consumer.close()


def test_results_of_commits_go_to_the_callback_of_the_subscription():
    consumer = GroupConsumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "a-group", "log_level": 0})
    results = []
    try:
        consumer._committed(None, [])  # before it has subscribed
        consumer.subscribe(["t"], print, print, print, lambda *result: results.append(result))
        consumer._committed(None, ["a partition"])
    finally:
        consumer.close()
    assert results == [(None, ["a partition"])]
