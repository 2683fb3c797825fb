"""Messages that were rejected: a list, and a way to have one worked off after all."""

import threading
from typing import Protocol

import confluent_kafka
import structlog

from pipeline import topics
from pipeline.errors import Unavailable
from pipeline.messages import Message
from pipeline.producer import Delivered, Outgoing
from storage_service.schemas import DeadLetter, DeadLetterFilter, DeadLetterPage
from storage_service.store import HeldLetter

log = structlog.get_logger()

PATIENCE_SECONDS = 11
"""For the broker's acknowledgement; the producer gives up before."""

_TOPICS = {topic.name for topic in topics.ALL}


class Refused(Exception):
    """A letter cannot be replayed; its text says why."""


class Records(Protocol):
    """The dead letters in the database; each method raises `Unavailable` when it is away."""

    def dead_letters(self, wanted: DeadLetterFilter, /) -> DeadLetterPage:
        """Returns a page of them."""

    def replay(self, letter_id: int, publish: "Publish", /) -> DeadLetter | None:
        """Publishes a letter that was never replayed, and notes it; None for an unknown one."""


class Publisher(Protocol):
    """The way to Kafka."""

    def send(self, outgoing: Outgoing, delivered: Delivered, /) -> None:
        """Sends a message; `delivered` gets None once it is acknowledged, or the error."""


class Publish(Protocol):
    """What publishes a letter."""

    def __call__(self, held: HeldLetter, /) -> None:
        """Returns when the broker has acknowledged it; raises `Refused` or `Unavailable` otherwise."""


class _Raw(Message):
    """A message that nobody could read, byte by byte."""

    value: bytes

    def to_bytes(self) -> bytes:
        """Returns the message as it was."""
        return self.value


class DeadLetters:
    """The use cases."""

    def __init__(self, records: Records, publisher: Publisher) -> None:
        self._records = records
        self._publisher = publisher

    def page(self, wanted: DeadLetterFilter) -> DeadLetterPage:
        """Returns a page of dead letters.

        Raises:
            Unavailable: PostgreSQL is away.
        """
        return self._records.dead_letters(wanted)

    def replay(self, letter_id: int) -> tuple[DeadLetter, bool] | None:
        """Writes the bytes of a letter to the topic that they come from; one that was replayed before stays as it is.

        Of replays at the same time exactly one writes it.

        Returns:
            The letter, and whether it was written now; None for an unknown one.

        Raises:
            Refused: Its bytes were cut or its source is unknown, or its question has ended.
            Unavailable: PostgreSQL or Kafka is away. The letter may have been written, and is not noted as replayed.
        """
        written = []

        def publish(held: HeldLetter) -> None:
            self._publish(held)
            written.append(held)

        letter = self._records.replay(letter_id, publish)
        return None if letter is None else (letter, bool(written))

    def _publish(self, held: HeldLetter) -> None:
        topic = held.letter.source_topic
        if topic not in _TOPICS:
            raise Refused("It is not known from which topic the message comes.")
        if held.value is None:
            raise Refused(
                "The message had no value, or it was too large to be forwarded: there are no bytes to replay."
            )
        if len(held.value) != held.letter.value_bytes:
            raise Refused(f"Only {len(held.value):,} of the message's {held.letter.value_bytes:,} bytes were kept.")
        if held.question_status in ("failed", "completed"):
            how = (
                "start it anew with POST /failed/ID/retry" if held.question_status == "failed" else "it has its answer"
            )
            raise Refused(
                f"Question {held.letter.question_id} has ended, so that the message would change nothing: {how}."
            )
        acknowledged, errors = threading.Event(), list[confluent_kafka.KafkaError]()

        def delivered(error: confluent_kafka.KafkaError | None) -> None:
            errors.extend([error] if error else [])
            acknowledged.set()

        self._publisher.send(Outgoing(topic, _Raw(value=held.value), held.key), delivered)
        if not acknowledged.wait(PATIENCE_SECONDS):
            raise Unavailable("Kafka has not acknowledged the message in time.")
        if errors:
            raise Unavailable(f"Kafka: {errors[0].str()}")
        log.info("replayed a dead letter", id=held.letter.id, topic=topic, question_id=held.letter.question_id)
