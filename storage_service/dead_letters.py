"""Rejected messages (dead letters): lists and replays them."""

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
"""Timeout for the broker's acknowledgement; the producer gives up earlier."""

_TOPICS = {topic.name for topic in topics.ALL}


class Refused(Exception):
    """A letter cannot be replayed; the text is the reason."""


class Records(Protocol):
    """The dead letters in the database; each method raises `Unavailable` when it is unavailable."""

    def dead_letters(self, wanted: DeadLetterFilter, /) -> DeadLetterPage:
        """Returns a page of them."""

    def replay(self, letter_id: int, publish: "Publish", /) -> DeadLetter | None:
        """Publishes a letter that was never replayed, and records the replay; None for an unknown letter."""


class Publisher(Protocol):
    """Sends messages to Kafka."""

    def send(self, outgoing: Outgoing, delivered: Delivered, /) -> None:
        """Sends a message; `delivered` gets None once it is acknowledged, or the error."""


class Publish(Protocol):
    """Publishes a letter."""

    def __call__(self, held: HeldLetter, /) -> None:
        """Returns when the broker has acknowledged it; raises `Refused` or `Unavailable` otherwise."""


class _Raw(Message):
    """A rejected message, as bytes."""

    value: bytes

    def to_bytes(self) -> bytes:
        """Returns the unchanged bytes of the message."""
        return self.value


class DeadLetters:
    """The use cases."""

    def __init__(self, records: Records, publisher: Publisher) -> None:
        self._records = records
        self._publisher = publisher

    def page(self, wanted: DeadLetterFilter) -> DeadLetterPage:
        """Returns a page of dead letters.

        Raises:
            Unavailable: PostgreSQL is unavailable.
        """
        return self._records.dead_letters(wanted)

    def replay(self, letter_id: int) -> tuple[DeadLetter, bool] | None:
        """Writes the bytes of a letter to the topic from which they come, unless it was replayed before.

        Of several replays at the same time, exactly one writes it.

        Returns:
            The letter, and whether it was written now; None for an unknown letter.

        Raises:
            Refused: The bytes were cut, the source is unknown, or the question has ended.
            Unavailable: PostgreSQL or Kafka is unavailable. The letter may have been written without being marked as
                replayed.
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
            raise Refused("The topic of the message is unknown.")
        if held.value is None:
            raise Refused(
                "There are no bytes to replay: the message had no value, or it was too large to be forwarded."
            )
        if len(held.value) != held.letter.value_bytes:
            raise Refused(f"Only {len(held.value):,} of the message's {held.letter.value_bytes:,} bytes were kept.")
        if held.question_status in ("failed", "completed"):
            how = "restart it with POST /failed/ID/retry" if held.question_status == "failed" else "it has an answer"
            raise Refused(f"Question {held.letter.question_id} has ended, so the message would have no effect: {how}.")
        acknowledged, errors = threading.Event(), list[confluent_kafka.KafkaError]()

        def delivered(error: confluent_kafka.KafkaError | None) -> None:
            errors.extend([error] if error else [])
            acknowledged.set()

        self._publisher.send(Outgoing(topic, _Raw(value=held.value), held.key), delivered)
        if not acknowledged.wait(PATIENCE_SECONDS):
            raise Unavailable("Kafka did not acknowledge the message in time.")
        if errors:
            raise Unavailable(f"Kafka: {errors[0].str()}")
        log.info("replayed a dead letter", id=held.letter.id, topic=topic, question_id=held.letter.question_id)
