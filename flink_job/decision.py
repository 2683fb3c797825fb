"""What becomes of a record of `llm-responses-success` once its score is known. Pure, but for the events it tells."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flink_job.scoring import Refused
from pipeline import messages, routing, topics
from pipeline.messages import CallError, Failed, Malformed, Response, Source, Unreadable
from pipeline.routing import BertScore, Gate

BATCH_OVERHEAD_BYTES = 512
"""What the broker counts beside key and value when it compares a record with `topics.MAX_MESSAGE_BYTES`."""


@dataclass(frozen=True)
class Record:
    """A record of `llm-responses-success` as it stood in the topic.

    Attributes:
        key: Its key.
        value: Its body.
        partition: Where it stood.
        offset: Where it stood.
    """

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int

    @property
    def source(self) -> Source:
        """Where it stood."""
        return Source(topic=topics.RESPONSES_SUCCESS, partition=self.partition, offset=self.offset)


@dataclass(frozen=True)
class Sent:
    """A record for the topic that it names."""

    topic: str
    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class Decision:
    """What follows from a record.

    Attributes:
        sent: The records that follow from it.
        verdict: A quality, `regenerate`, `not_retryable` or `malformed`.
        about: Fields of the event that tells it: ids, never payloads.
    """

    sent: tuple[Sent, ...]
    verdict: str
    about: dict[str, Any]


def read(record: Record) -> Response:
    """Reads an answer.

    Raises:
        Unreadable: It is no answer.
    """
    message = messages.read(topics.RESPONSES_SUCCESS, record.key, record.value)
    assert isinstance(message, Response)  # the topic's type
    return message


def decide(record: Record, result: BertScore | Refused | None, gate: Gate, now: datetime) -> Decision:
    """Decides what becomes of a record.

    Args:
        record: An answer, or something that cannot be read.
        result: Its score; None when there is nothing to compare with or the record cannot be read.
        gate: Threshold and limit of attempts.
        now: Time of the decision.

    Returns:
        Records that are small enough for their topics.
    """
    try:
        response = read(record)
    except Unreadable as error:
        return _malformed(record, str(error), now)
    about: dict[str, Any] = {"question_id": response.question_id, "attempt": response.processing_attempts}
    if isinstance(result, Refused):
        return _failed(record, response, result.status_code, f"the scorer refused the answer: {result.message}", now)
    routed = routing.decide(response, result, gate, now)
    sent = tuple(Sent(each.topic, record.key, each.message.to_bytes()) for each in routed)
    if any(_too_large(each) for each in sent):
        return _failed(record, response, None, "the answer and its history are too large for a message", now)
    return Decision(sent, _verdict(routed), about | {"score": round(result.score, 4) if result else None})


def _verdict(routed: list[routing.Routed]) -> str:
    first = routed[0].message
    return first.quality if isinstance(first, messages.Validated) else "regenerate"


def _too_large(record: Sent) -> bool:
    return len(record.key or b"") + len(record.value) + BATCH_OVERHEAD_BYTES > topics.MAX_MESSAGE_BYTES


def _failed(record: Record, response: Response, status_code: int | None, why: str, now: datetime) -> Decision:
    failed = response.become(
        Failed,
        reason="not_retryable",
        error=CallError(type="permanent", status_code=status_code, message=why),
        source=record.source,
        failed_at=now,
    )
    about = {"question_id": response.question_id, "attempt": response.processing_attempts, "error": why}
    return Decision((Sent(topics.PERMANENT, record.key, failed.to_bytes()),), "not_retryable", about)


def _malformed(record: Record, why: str, now: datetime) -> Decision:
    malformed = Malformed.of(record.key, record.value, record.source, why, now)
    value = malformed.to_bytes()
    if len(record.key or b"") + len(value) + BATCH_OVERHEAD_BYTES > topics.MAX_PERMANENT_BYTES:
        # Only a topic with a limit of its own can bring this about.
        why = f"{why} (too large to forward: see its source)"
        value = Malformed.of(record.key, None, record.source, why, now).to_bytes()
    return Decision(
        (Sent(topics.PERMANENT, record.key, value),), "malformed", {"error": why, **record.source.model_dump()}
    )
