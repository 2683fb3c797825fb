"""Writes to topics, with acknowledgements."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Self

import confluent_kafka
import structlog

from pipeline.errors import Unavailable
from pipeline.kafka import client_config
from pipeline.messages import Message, Question
from pipeline.settings import KafkaSettings
from pipeline.topics import MAX_PERMANENT_BYTES

log = structlog.get_logger()

FOR_EVER = 0


@dataclass(frozen=True)
class Outgoing:
    """A message for a topic.

    Attributes:
        topic: The topic.
        message: The message.
        key: Its key; the question id for every message that carries a question.
        due_at: Earliest time to send it; None: at once.
    """

    topic: str
    message: Message
    key: bytes | None
    due_at: datetime | None = None

    @classmethod
    def of(cls, topic: str, message: Question, due_at: datetime | None = None) -> Self:
        """Makes an outgoing message from a message that carries a question."""
        return cls(topic, message, message.question_id.encode(), due_at)

    @cached_property
    def value(self) -> bytes:
        """The message as bytes."""
        return self.message.to_bytes()


Delivered = Callable[[confluent_kafka.KafkaError | None], None]


class Producer:
    """An idempotent producer whose callbacks run in its own thread.

    A message is written only when its callback was called with None: `produce` only enqueues it.
    """

    def __init__(self, settings: KafkaSettings, client_id: str, give_up_seconds: float = FOR_EVER) -> None:
        """Starts the producer; it connects in the background, now or when the broker becomes available.

        Args:
            settings: Where the brokers are.
            client_id: Name in the broker's logs.
            give_up_seconds: Time without acknowledgement after which a write fails; 0: never.
        """
        self._client = confluent_kafka.Producer(
            client_config(settings, client_id)
            | {
                "enable.idempotence": True,
                "message.timeout.ms": int(give_up_seconds * 1000),
                "message.max.bytes": MAX_PERMANENT_BYTES,
                "linger.ms": 2,
                "compression.type": "lz4",
                # As in Java clients, and so in Flink: a key has the same partition, whichever service writes it.
                "partitioner": "murmur2_random",
            }
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve_callbacks, name="producer-callbacks", daemon=True)
        self._thread.start()

    def send(self, outgoing: Outgoing, delivered: Delivered) -> None:
        """Enqueues a message; `delivered` gets None once the broker has acknowledged it, or the error.

        It blocks while the local queue is full. For a message over the broker's limit, `delivered` gets the error.
        """
        while True:
            try:
                self._client.produce(
                    outgoing.topic, outgoing.value, outgoing.key, on_delivery=lambda error, _message: delivered(error)
                )
                return
            except BufferError:
                self._client.poll(0.05)
            except confluent_kafka.KafkaException as error:
                delivered(error.args[0])
                return

    def ping(self, timeout_seconds: float = 1.5) -> None:
        """Raises `Unavailable` when no broker answers in time."""
        try:
            self._client.list_topics(timeout=timeout_seconds)
        except confluent_kafka.KafkaException as error:
            raise Unavailable(f"Kafka: {error.args[0].str()}") from error

    def close(self, timeout_seconds: float = 5) -> None:
        """Waits for outstanding acknowledgements, then stops the thread."""
        left = self._client.flush(timeout_seconds)
        if left:
            log.warning("closed with unacknowledged messages", count=left)
        self._closing.set()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _serve_callbacks(self) -> None:
        while not self._closing.is_set():
            self._client.poll(0.1)
