"""Publishes questions again whose publication is not recorded: Kafka was unavailable, storage-service crashed before it
recorded the acknowledgement, or the message was lost (`sweep.py`)."""

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
from storage_writer.store import Outbox

log = structlog.get_logger()

GIVE_UP_SECONDS = 10
"""Time for which the producer tries; the next round publishes the same questions again."""
AGE_SECONDS = 15
"""Age at which a question without a recorded acknowledgement is published again; storage-service tries for 10 s."""
INTERVAL_SECONDS = 5
"""Interval of checks for questions to publish again."""
BATCH = 200
"""Maximum number of questions that are published again at once."""


class Records(Protocol):
    """The unpublished questions."""

    def outbox(self, older_than_seconds: float, limit: int, /) -> AbstractContextManager[Outbox]:
        """Provides the oldest ones."""


class Publisher(Protocol):
    """Sends messages to Kafka."""

    def send(self, outgoing: Outgoing, delivered: Delivered, /) -> None:
        """Sends a message; `delivered` gets None once it is acknowledged, or the error."""

    def ping(self) -> None:
        """Raises `Unavailable` when no broker answers."""


class Republisher:
    """Publishes unpublished questions at an interval."""

    def __init__(
        self, records: Records, publisher: Publisher, batch: int = BATCH, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self._records = records
        self._publisher = publisher
        self._batch = batch
        self._interval_seconds = interval_seconds

    def run(self, stop: threading.Event) -> None:
        """Publishes questions until `stop` is set; waits for unavailable dependencies."""
        while not stop.wait(self._interval_seconds):
            try:
                while self.publish() == self._batch and not stop.is_set():
                    pass
            except Unavailable as error:
                log.warning("postponed republishing", error=str(error))

    def publish(self) -> int:
        """Publishes one batch again.

        Returns:
            Number of questions that the broker acknowledged.

        Raises:
            Unavailable: PostgreSQL or Kafka is unavailable.
        """
        self._publisher.ping()
        with self._records.outbox(AGE_SECONDS, self._batch) as outbox:
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
