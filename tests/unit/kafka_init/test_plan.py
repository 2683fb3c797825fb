from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import structlog
from confluent_kafka.admin import ResourceType

from kafka_init.__main__ import apply
from kafka_init.plan import offsets_expire_early, plan, too_low
from pipeline import topics
from pipeline.topics import Topic


def expected_topics(partitions=3):
    return [Topic("a", partitions, "", (), ())]


def test_an_empty_broker_gets_all_seven_topics():
    assert [topic.name for topic in plan(topics.ALL, {}).create] == [topic.name for topic in topics.ALL]
    assert len(topics.ALL) == 7


def test_a_second_run_changes_no_topic():
    done = plan(topics.ALL, {topic.name: topic.partitions for topic in topics.ALL})
    assert (done.create, done.grow) == ([], [])


def test_partitions_are_increased_and_never_reduced():
    assert [topic.name for topic in plan(expected_topics(), {"a": 1}).grow] == ["a"]
    assert plan(expected_topics(), {"a": 12}).grow == []


def test_messages_that_carry_questions_are_kept_for_30_days():
    for topic in topics.WORKING:
        assert int(topic.config["retention.ms"]) == 30 * 24 * 3600 * 1000, topic.name
    assert {topic.name for topic in topics.ALL} - {topic.name for topic in topics.WORKING} == {topics.LOW_QUALITY}


@pytest.mark.parametrize(
    ("found", "raised"),
    [
        ({"retention.ms": "604800000"}, True),
        ({"retention.ms": "2592000000"}, False),
        ({"retention.ms": "9999999999999"}, False),
        ({"retention.ms": "-1"}, False),
        ({"retention.ms": None}, True),
        ({}, True),
    ],
)
def test_a_setting_is_raised_and_never_lowered(found, raised):
    expected = {"retention.ms": "2592000000"}
    assert too_low(expected, found) == (expected if raised else {})


@pytest.mark.parametrize(("minutes", "early"), [("10080", True), ("43200", False), ("100000", False), (None, False)])
def test_offset_retention_shorter_than_message_retention_is_detected(minutes, early):
    assert offsets_expire_early(minutes) is early


class FakeAdmin:
    """Fake broker that has all topics; the arguments are the settings of each topic and of the broker."""

    def __init__(self, topic_settings, broker_settings):
        self.settings = {ResourceType.TOPIC: topic_settings, ResourceType.BROKER: broker_settings}
        self.changed = {}

    def list_topics(self, timeout):
        found = {each.name: SimpleNamespace(partitions=range(each.partitions)) for each in topics.ALL}
        return SimpleNamespace(topics=found, brokers={1: None})

    def describe_configs(self, resources):
        return {
            each: done({name: SimpleNamespace(value=value) for name, value in self.settings[each.restype].items()})
            for each in resources
        }

    def incremental_alter_configs(self, resources):
        self.changed = {each.name: {e.name: e.value for e in each.incremental_configs} for each in resources}
        return {each: done(None) for each in resources}


def done(result):
    future = Future()
    future.set_result(result)
    return future


def test_retention_of_a_topic_of_an_older_release_is_raised_and_logged():
    admin = FakeAdmin(
        {"retention.ms": "604800000", "max.message.bytes": "1048588"}, {"offsets.retention.minutes": "10080"}
    )
    with structlog.testing.capture_logs() as logs:
        apply(admin)
    assert {name: changes["retention.ms"] for name, changes in admin.changed.items()} == dict.fromkeys(
        [each.name for each in topics.WORKING], "2592000000"
    )
    assert admin.changed[topics.PERMANENT]["max.message.bytes"] == str(topics.MAX_PERMANENT_BYTES)
    raised = [each for each in logs if each["event"] == "raised a setting of a topic"]
    assert {"topic": topics.VALIDATED, "was": "604800000", "now": "2592000000"}.items() <= next(
        each for each in raised if each["topic"] == topics.VALIDATED
    ).items()
    [warning] = [each for each in logs if "forgets offsets" in each["event"]]
    assert (warning["log_level"], warning["minutes"], warning["needed"]) == ("warning", "10080", 43_200)


def test_a_broker_with_the_expected_settings_is_not_changed():
    admin = FakeAdmin({"retention.ms": "-1", "max.message.bytes": "2097152"}, {"offsets.retention.minutes": "43200"})
    with structlog.testing.capture_logs() as logs:
        apply(admin)
    assert admin.changed == {}
    assert [each for each in logs if each["log_level"] == "warning"] == []
