"""What becomes of a record of `llm-responses-success` once its score is known. Pure, but for the events it tells."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flink_job.scoring import Refused
from pipeline import messages, routing, sizes, topics
from pipeline.messages import CallError, Malformed, Message, RecordPosition, Response, Unreadable, Validated
from pipeline.routing import BertScore, Gate, Routed


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
    def source(self) -> RecordPosition:
        """Where it stood."""
        return RecordPosition(topic=topics.RESPONSES_SUCCESS, partition=self.partition, offset=self.offset)


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
    carrier, *records = (_sized(record, each) for each in routed)
    if carrier:
        # A record of an attempt that is too large itself is left out: it must not cost the question its answer.
        sent = (carrier, *(each for each in records if each))
        return Decision(sent, _verdict(routed), about | {"score": round(result.score, 4) if result else None})
    return _failed(record, response, None, "the answer is too large for a message", now)


def _verdict(routed: list[routing.Routed]) -> str:
    first = routed[0].message
    return first.quality if isinstance(first, Validated) else "regenerate"


def _sized(record: Record, routed: Routed) -> Sent | None:
    """Returns the record for a message, with its history cut or dropped if it would be too large.

    None if it is too large even so.
    """
    for shorten in (_whole, sizes.with_short_history, _without_history):
        sent = Sent(routed.topic, record.key, shorten(routed.message).to_bytes())
        if sizes.fits(sent.topic, sent.key, sent.value):
            return sent
    return None


def _whole(message: Message) -> Message:
    return message


def _without_history(message: Message) -> Message:
    """Returns a message with nothing but the question and the answer: its own, or the best one if it has none."""
    changes: dict[str, object] = {"attempts": (), "errors": ()}
    if isinstance(message, Response | Validated):
        changes["best"] = None
    if isinstance(message, Response):
        changes["samples"] = ()
    return message.model_copy(update=changes)


def _failed(record: Record, response: Response, status_code: int | None, why: str, now: datetime) -> Decision:
    error = CallError(type="permanent", status_code=status_code, message=why)
    response = response.model_copy(update={"errors": response.errors_with(error, now)})
    ended = routing.give_up(response, error, "not_retryable", record.source, now)
    about = {"question_id": response.question_id, "attempt": response.processing_attempts, "error": why}
    verdict = ended.message.quality if isinstance(ended.message, Validated) else "not_retryable"
    sent = _sized(record, ended)
    assert sent is not None  # what came in a message of one topic fits into one of `PERMANENT`
    return Decision((sent,), verdict, about)


def _malformed(record: Record, why: str, now: datetime) -> Decision:
    malformed = Malformed.of(record.key, record.value, record.source, why, now)
    value = malformed.to_bytes()
    if not sizes.fits(topics.PERMANENT, record.key, value):
        # Only a topic with a limit of its own can bring this about.
        why = f"{why} (too large to forward: see its source)"
        value = Malformed.of(record.key, None, record.source, why, now).to_bytes()
    return Decision(
        (Sent(topics.PERMANENT, record.key, value),), "malformed", {"error": why, **record.source.model_dump()}
    )
