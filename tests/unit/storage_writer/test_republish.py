"""On fakes of PostgreSQL and Kafka."""

import threading
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaError

from pipeline.errors import Unavailable
from storage_writer import republish
from storage_writer.republish import Republisher
from storage_writer.settings import WriterSettings
from tests.unit import samples


class FakeRecords:
    """Stands for the database: an outbox that shrinks by what is marked."""

    def __init__(self, count):
        self.unpublished = [samples.question(question_text=f"Question {number}?") for number in range(count)]
        self.lent = []
        self.error = None

    @contextmanager
    def outbox(self, older_than_seconds, limit):
        if self.error:
            raise self.error
        self.lent.append((older_than_seconds, limit))
        self.questions = self.unpublished[:limit]
        yield self

    def published(self, questions):
        self.unpublished = [each for each in self.unpublished if each not in questions]


class FakePublisher:
    """Stands for the producer; it refuses the questions whose text is in `refused`."""

    def __init__(self):
        self.sent = []
        self.refused = ()
        self.silent = False
        self.away = False

    def ping(self):
        if self.away:
            raise Unavailable("Kafka: transport failure")

    def send(self, outgoing, delivered):
        self.sent.append(outgoing)
        if not self.silent:
            refused = outgoing.message.question_text in self.refused
            delivered(KafkaError(KafkaError._MSG_TIMED_OUT) if refused else None)


def republisher(count, **settings):
    records, publisher = FakeRecords(count), FakePublisher()
    return Republisher(records, publisher, WriterSettings(**settings)), records, publisher


def test_questions_are_published_again_and_marked():
    again, records, publisher = republisher(3)
    assert again.publish() == 3
    assert [each.topic for each in publisher.sent] == ["questions-pending"] * 3
    assert [each.key.decode() for each in publisher.sent] == [each.message.question_id for each in publisher.sent]
    assert (records.unpublished, records.lent) == ([], [(15, 200)])


def test_nothing_to_do():
    again, _, publisher = republisher(0)
    assert (again.publish(), publisher.sent) == (0, [])


def test_only_acknowledged_ones_are_marked():
    again, records, publisher = republisher(3)
    publisher.refused = ("Question 1?",)
    assert again.publish() == 2
    assert [each.question_text for each in records.unpublished] == ["Question 1?"]


def test_silence_of_the_broker_ends(monkeypatch):
    monkeypatch.setattr(republish, "GIVE_UP_SECONDS", -0.95)
    again, records, publisher = republisher(2)
    publisher.silent = True
    assert again.publish() == 0
    assert len(records.unpublished) == 2


def test_nothing_is_lent_while_kafka_is_away():
    again, records, publisher = republisher(2)
    publisher.away = True
    with pytest.raises(Unavailable, match="Kafka"):
        again.publish()
    assert records.lent == []


def test_thread_works_through_all_batches_and_outlives_errors():
    again, records, publisher = republisher(5, republish_batch=2, republish_interval_seconds=0.01)
    stop, tried = threading.Event(), threading.Event()

    @contextmanager
    def broken(*_arguments):
        tried.set()
        raise Unavailable("PostgreSQL: away")
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
