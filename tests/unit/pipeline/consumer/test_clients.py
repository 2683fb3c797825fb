"""Tests of the confluent-kafka clients that the loop creates. No broker is reachable."""

import confluent_kafka
import pytest

from pipeline.consumer import clients as module
from pipeline.consumer import connect
from pipeline.consumer.clients import GroupConsumer
from pipeline.settings import KafkaSettings

NO_BROKER = KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1")


@pytest.fixture
def configurations(monkeypatch):
    """Returns the configurations that `connect` passes to the consumer and the admin client."""
    found = {}
    monkeypatch.setattr(module, "GroupConsumer", lambda config: found.setdefault("consumer", config))
    monkeypatch.setattr(module, "AdminClient", lambda config: found.setdefault("admin", config))
    return found


def test_consumer_has_its_group_id_cooperative_assignment_and_no_auto_commit(configurations):
    connect(NO_BROKER, "a-group", 8)
    consumer = configurations["consumer"]
    assert (consumer["group.id"], consumer["client.id"], consumer["enable.auto.commit"]) == (
        "a-group",
        "a-group",
        False,
    )
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"
    assert consumer["bootstrap.servers"] == configurations["admin"]["bootstrap.servers"] == "127.0.0.1:1"


@pytest.mark.parametrize(("drain_seconds", "milliseconds"), [(8, 300_000), (600, 660_000)])
def test_max_poll_interval_is_longer_than_a_drain(configurations, drain_seconds, milliseconds):
    connect(NO_BROKER, "a-group", drain_seconds)
    assert configurations["consumer"]["max.poll.interval.ms"] == milliseconds


def test_errors_of_the_admin_client_are_not_logged(configurations):
    connect(NO_BROKER, "a-group", 8)
    assert (
        configurations["admin"]["error_cb"](confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT)) is None
    )


def test_clients_are_created_without_a_broker():
    clients = connect(NO_BROKER, "a-group", 8)
    assert isinstance(clients.consumer, confluent_kafka.Consumer)
    clients.consumer.close()


def test_commit_results_are_passed_to_the_callback_given_to_subscribe():
    consumer = GroupConsumer({"bootstrap.servers": "127.0.0.1:1", "group.id": "a-group", "log_level": 0})
    results = []
    try:
        consumer._committed(None, [])  # before it has subscribed
        consumer.subscribe(["t"], print, print, print, lambda *result: results.append(result))
        consumer._committed(None, ["a partition"])
    finally:
        consumer.close()
    assert results == [(None, ["a partition"])]
