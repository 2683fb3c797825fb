"""Republishing of the outbox, on fakes of PostgreSQL and Kafka."""

import threading
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError

from pipeline.errors import Unavailable
from storage_writer import republish
from storage_writer.republish import Republisher
from tests.unit import samples


class FakeRecords:
    """Fake database; marked questions leave its outbox."""

    def __init__(self, count):
        self.unpublished = [samples.question(question_text=f"Question {number}?") for number in range(count)]
        self.outbox_calls = []
        self.error = None

    @contextmanager
    def outbox(self, older_than_seconds, limit):
        if self.error:
            raise self.error
        self.outbox_calls.append((older_than_seconds, limit))
        self.questions = self.unpublished[:limit]
        yield self

    def published(self, questions):
        self.unpublished = [each for each in self.unpublished if each not in questions]


class FakePublisher:
    """Fake producer; it refuses the questions whose text is in `refused`."""

    def __init__(self):
        self.sent = []
        self.refused = ()
        self.silent = False
        self.unavailable = False

    def ping(self):
        if self.unavailable:
            raise Unavailable("Kafka: transport failure")

    def send(self, outgoing, delivered):
        self.sent.append(outgoing)
        if not self.silent:
            refused = outgoing.message.question_text in self.refused
            delivered(KafkaError(KafkaError._MSG_TIMED_OUT) if refused else None)


def republisher(count, **options):
    records, publisher = FakeRecords(count), FakePublisher()
    return Republisher(records, publisher, **options), records, publisher


def test_unpublished_questions_are_published_and_marked():
    again, records, publisher = republisher(3)
    assert again.publish() == 3
    assert [each.topic for each in publisher.sent] == ["questions-pending"] * 3
    assert [each.key.decode() for each in publisher.sent] == [each.message.question_id for each in publisher.sent]
    assert (records.unpublished, records.outbox_calls) == ([], [(15, 200)])


def test_an_empty_outbox_publishes_nothing():
    again, _, publisher = republisher(0)
    assert (again.publish(), publisher.sent) == (0, [])


def test_only_acknowledged_questions_are_marked_as_published():
    again, records, publisher = republisher(3)
    publisher.refused = ("Question 1?",)
    assert again.publish() == 2
    assert [each.question_text for each in records.unpublished] == ["Question 1?"]


def test_publishing_ends_when_the_broker_never_acknowledges(monkeypatch):
    monkeypatch.setattr(republish, "GIVE_UP_SECONDS", -0.95)
    again, records, publisher = republisher(2)
    publisher.silent = True
    assert again.publish() == 0
    assert len(records.unpublished) == 2


def test_the_outbox_is_not_read_while_kafka_is_unavailable():
    again, records, publisher = republisher(2)
    publisher.unavailable = True
    with pytest.raises(Unavailable, match="Kafka"):
        again.publish()
    assert records.outbox_calls == []


def test_the_thread_continues_after_errors_and_publishes_all_batches():
    again, records, publisher = republisher(5, batch=2, interval_seconds=0.01)
    stop, tried = threading.Event(), threading.Event()

    @contextmanager
    def broken(*_arguments):
        tried.set()
        raise Unavailable("PostgreSQL: no connection")
        yield

    whole, records.outbox = records.outbox, broken
    thread = threading.Thread(target=again.run, args=(stop,), daemon=True)
    thread.start()
    assert tried.wait(5)
    records.outbox = whole
    for _ in range(500):
        if not records.unpublished:
            break
        stop.wait(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert (records.unpublished, len(publisher.sent)) == ([], 5)
