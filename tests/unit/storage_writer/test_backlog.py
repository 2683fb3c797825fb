"""Search of the topics for unfinished questions, on the mock broker of librdkafka."""

import json
import threading

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.errors import Unavailable
from pipeline.settings import KafkaSettings
from storage_writer import backlog
from storage_writer.backlog import Backlog, question_of, unfinished

IDS = [f"{number:032x}" for number in range(1, 9)]
GROUPS = {each.name: each.group for each in topics.ALL}


class Broker:
    def __init__(self):
        self._mock = AdminClient({"test.mock.num.brokers": 1, "log_level": 0})
        [broker] = self._mock.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        self._producer = Producer({"bootstrap.servers": self.address, "log_level": 0})
        for topic in topics.ALL:  # the mock creates a topic at the first write
            self.produce(topic.name, b"other", b"{}", partition=0)

    def produce(self, topic, key, value=b"{}", partition=1):
        placed = []
        self._producer.produce(
            topic, value, key, partition=partition, on_delivery=lambda error, message: placed.append((error, message))
        )
        assert self._producer.flush(10) == 0
        [(error, message)] = placed
        assert error is None
        return message.offset()

    def commit(self, topic, offset, partition=1):
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": GROUPS[topic], "log_level": 0})
        consumer.commit(offsets=[TopicPartition(topic, partition, offset)], asynchronous=False)
        consumer.close()

    def committed(self, topic, group):
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "log_level": 0})
        [found] = consumer.committed([TopicPartition(topic, 1)], timeout=10)
        consumer.close()
        return found.offset


@pytest.fixture(scope="module")
def broker():
    return Broker()


@pytest.fixture
def found(broker):
    search = Backlog(KafkaSettings(kafka_bootstrap_servers=broker.address), "test-sweep")
    return lambda *wanted: search.find(set(wanted), threading.Event())


@pytest.mark.parametrize("topic", [each.name for each in topics.WORKING])
def test_a_question_is_found_until_the_consumer_group_commits_its_message(broker, found, topic):
    question_id = f"{hash(topic) % 2**64:032x}"
    offset = broker.produce(topic, question_id.encode())
    assert found(question_id, "f" * 32) == {question_id}
    broker.commit(topic, offset)
    assert found(question_id) == {question_id}
    broker.commit(topic, offset + 1)
    assert found(question_id) == set()


def test_a_question_on_the_low_quality_topic_alone_is_not_found(broker, found):
    broker.produce(topics.LOW_QUALITY, IDS[0].encode())
    assert found(IDS[0]) == set()


def test_a_message_without_a_usable_key_is_found_by_the_id_in_its_body(broker, found):
    broker.produce(topics.QUESTIONS_PENDING, b"hand-made", json.dumps({"question_id": IDS[1]}).encode())
    assert found(IDS[1]) == {IDS[1]}


def test_the_search_joins_no_group_and_commits_nothing(broker, found):
    offset = broker.produce(topics.QUESTIONS_PENDING, IDS[2].encode())
    broker.commit(topics.QUESTIONS_PENDING, offset)
    assert found(IDS[2]) == {IDS[2]}
    assert broker.committed(topics.QUESTIONS_PENDING, "llm-consumer") == offset
    assert broker.committed(topics.QUESTIONS_PENDING, "test-sweep") < 0


def test_a_message_that_was_found_and_is_still_unfinished_is_not_read_again(broker, found, monkeypatch):
    broker.produce(topics.QUESTIONS_PENDING, IDS[3].encode())
    assert found(IDS[3]) == {IDS[3]}

    def unexpected(*_arguments):
        raise AssertionError("read again")

    monkeypatch.setattr(backlog.confluent_kafka, "Consumer", unexpected)
    assert found(IDS[3]) == {IDS[3]}


def test_questions_behind_many_other_messages_are_found_in_every_partition(broker, found):
    for number in range(3):
        for _ in range(40):
            broker.produce(topics.VALIDATED, b"other", partition=number)
        broker.produce(topics.VALIDATED, IDS[4 + number].encode(), partition=number)
    assert found(*IDS[4:7], "f" * 32) == set(IDS[4:7])


def test_a_search_that_takes_too_long_raises_unavailable(broker, found, monkeypatch):
    monkeypatch.setattr(backlog, "READ_SECONDS", -1)
    with pytest.raises(Unavailable, match="could not be read in"):
        found("e" * 32)


def test_stopping_the_service_ends_the_search(broker):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Unavailable):
        Backlog(KafkaSettings(kafka_bootstrap_servers=broker.address), "test-sweep").find({"e" * 32}, stop)


def test_an_unreachable_broker_raises_unavailable(monkeypatch):
    monkeypatch.setattr(backlog, "TIMEOUT_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="Kafka"):
        Backlog(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), "test-sweep").find({"e" * 32}, threading.Event())


@pytest.mark.parametrize(
    ("committed", "first", "end", "left"),
    [
        (5, 0, 9, range(5, 9)),
        (9, 0, 9, range(9, 9)),
        (-1001, 3, 9, range(3, 9)),
        (2, 3, 9, range(3, 9)),  # retention deleted messages that the group had not read
        (20, 0, 9, range(9)),  # the topic was created again: the group starts with the first message
    ],
)
def test_unfinished_offsets_begin_at_the_committed_one(committed, first, end, left):
    assert unfinished(committed, first, end) == left


@pytest.mark.parametrize(
    ("key", "value", "question_id"),
    [
        (IDS[0].encode(), b"{", IDS[0]),
        (None, json.dumps({"question_id": IDS[0]}).encode(), IDS[0]),
        (b"\xff", b"{}", None),
        (b"poison", None, None),
        (b"poison", b"[1]", None),
        (b"poison", b"[" * 100_000, None),
        (b"poison", b'{"question_id": 7}', None),
        (b"poison", b"\xff\xfe", None),
    ],
)
def test_the_question_id_of_a_message_is_its_key_or_that_in_its_body(key, value, question_id):
    assert question_of(key, value) == question_id
