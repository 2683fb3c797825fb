"""Publishes again what nobody acknowledged: Kafka was away, storage-service died before it noted it, or the message is
gone (`sweep.py`)."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import confluent_kafka
import structlog

from pipeline import metrics, topics
from pipeline.errors import Unavailable
from pipeline.messages import Question
from pipeline.producer import Delivered, Outgoing
from storage_writer.settings import WriterSettings
from storage_writer.store import Outbox

log = structlog.get_logger()

GIVE_UP_SECONDS = 10
"""For which the producer tries; the next round would publish the same questions."""


class Records(Protocol):
    """The unpublished questions."""

    def outbox(self, older_than_seconds: float, limit: int, /) -> AbstractContextManager[Outbox]:
        """Lends the oldest of them."""


class Publisher(Protocol):
    """The way to Kafka."""

    def send(self, outgoing: Outgoing, delivered: Delivered, /) -> None:
        """Sends a message; `delivered` gets None once it is acknowledged, or the error."""

    def ping(self) -> None:
        """Raises `Unavailable` when no broker answers."""


class Republisher:
    """Looks for such questions at an interval."""

    def __init__(self, records: Records, publisher: Publisher, settings: WriterSettings) -> None:
        self._records = records
        self._publisher = publisher
        self._settings = settings

    def run(self, stop: threading.Event) -> None:
        """Publishes again until `stop` is set; an absent neighbour is waited for."""
        while not stop.wait(self._settings.republish_interval_seconds):
            try:
                while self.publish() == self._settings.republish_batch and not stop.is_set():
                    pass
            except Unavailable as error:
                log.warning("put off publishing again", error=str(error))

    def publish(self) -> int:
        """Publishes one batch again.

        Returns:
            How many questions the broker acknowledged.

        Raises:
            Unavailable: PostgreSQL or Kafka is away.
        """
        self._publisher.ping()
        with self._records.outbox(self._settings.republish_after_seconds, self._settings.republish_batch) as outbox:
            if not outbox.questions:
                return 0
            acknowledged = self._send(outbox)
            outbox.published(acknowledged)
        metrics.REPUBLISHED.inc(len(acknowledged))
        log.info(
            "published questions again",
            count=len(acknowledged),
            unacknowledged=len(outbox.questions) - len(acknowledged),
        )
        return len(acknowledged)

    def _send(self, outbox: Outbox) -> list[Question]:
        done = threading.Semaphore(0)
        acknowledged: list[Question] = []

        def delivered_of(question: Question) -> Callable[[confluent_kafka.KafkaError | None], None]:
            def delivered(error: confluent_kafka.KafkaError | None) -> None:
                if error is None:
                    acknowledged.append(question)
                done.release()

            return delivered

        for question in outbox.questions:
            self._publisher.send(Outgoing.of(topics.QUESTIONS_PENDING, question), delivered_of(question))
        until = time.monotonic() + GIVE_UP_SECONDS + 1
        for _ in outbox.questions:
            if not done.acquire(timeout=max(0, until - time.monotonic())):
                break
        return list(acknowledged)
