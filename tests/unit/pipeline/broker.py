"""In-process broker for tests of the loop: the mock cluster of librdkafka."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import confluent_kafka

from pipeline.clock import Clock
from pipeline.consumer import Consumer, Limits, connect
from pipeline.poison import PoisonLimit
from pipeline.producer import Producer
from pipeline.settings import KafkaSettings

PATIENCE_SECONDS = 20
QUIET = {"log_level": 0}


class Broker:
    """A mock cluster with the given topics of four partitions each."""

    def __init__(self, *topics):
        self._cluster = confluent_kafka.Producer({"bootstrap.servers": "unused:1", "test.mock.num.brokers": 1, **QUIET})
        [broker] = self._cluster.list_topics(timeout=5).brokers.values()
        self.address = f"{broker.host}:{broker.port}"
        self._client = confluent_kafka.Producer({"bootstrap.servers": self.address, **QUIET})
        for topic in topics:
            while not self._client.list_topics(topic, timeout=5).topics[topic].partitions:
                time.sleep(0.01)

    def settings(self, **changes):
        return KafkaSettings(kafka_bootstrap_servers=self.address, **changes)

    def produce(self, topic, value, key=b"k", partition=0):
        self._client.produce(topic, value, key, partition)
        assert self._client.flush(10) == 0

    @contextmanager
    def reading(self, topic) -> Iterator["Reader"]:
        """Yields a reader of a topic from its beginning."""
        client = confluent_kafka.Consumer({"bootstrap.servers": self.address, "group.id": "tests", **QUIET})
        numbers = client.list_topics(topic, timeout=5).topics[topic].partitions
        client.assign(
            [confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING) for number in numbers]
        )
        try:
            yield Reader(client)
        finally:
            client.close()

    @contextmanager
    def consuming(self, topics, handler, limits=Limits(), clock=Clock(), heartbeat=None, **settings):
        """Runs the loop in a thread and yields a list that receives the exception that ends it."""
        stop, ended = threading.Event(), []
        with Producer(self.settings(), "tests") as producer:
            settings = self.settings(**settings)
            clients = connect(settings, "tests-loop", limits.drain_seconds)
            poison = PoisonLimit(settings.poison_limit)
            loop = Consumer(clients, topics, handler, producer, poison, limits, heartbeat, clock=clock)

            def run():
                try:
                    loop.run(stop)
                except BaseException as error:
                    ended.append(error)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            try:
                yield ended
            finally:
                stop.set()
                thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive(), "it did not stop in time"


class Reader:
    """Reads values of a topic, one after the other."""

    def __init__(self, client):
        self._client = client

    def poll(self):
        """Returns the next value if it arrives within 0.1 s, otherwise None."""
        record = self._client.poll(0.1)
        return record.value() if record is not None and not record.error() else None

    def next(self):
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            value = self.poll()
            if value is not None:
                return value
        raise AssertionError("nothing came")
