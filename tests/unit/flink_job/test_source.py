"""The client of the topic; the system tests check that Kafka gives a topic that is created again another id."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, Uuid
from confluent_kafka.admin import AdminClient

from flink_job import source
from flink_job.source import Topic
from pipeline import topics
from pipeline.errors import Unavailable


class FakeAdmin:
    def __init__(self):
        self.answer = Future()

    def describe_topics(self, names, request_timeout):
        return {topics.RESPONSES_SUCCESS: self.answer}


def test_the_topic_id_is_encoded_in_base64():
    admin = FakeAdmin()
    admin.answer.set_result(SimpleNamespace(topic_id=Uuid(7343206464929711463, -7706023451711975619)))
    assert Topic(admin).topic_id() == "ZehPX7Z8xWeVDrR/ueDPPQ"


def test_a_missing_topic_raises_unavailable():
    admin = FakeAdmin()
    admin.answer.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
    with pytest.raises(Unavailable, match=r"llm-responses-success: .*Unknown topic"):
        Topic(admin).topic_id()


def test_kafka_that_does_not_answer_raises_unavailable(monkeypatch):
    monkeypatch.setattr(source, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(Unavailable):
        Topic(AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})).topic_id()
