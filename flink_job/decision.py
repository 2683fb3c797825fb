"""Decides what happens to a record of `llm-responses-success` once its score is known. Pure functions."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flink_job.client import Rejected
from pipeline import messages, routing, sizes, topics
from pipeline.messages import (
    DeadLetter,
    InvalidMessage,
    Judgement,
    Message,
    ProviderError,
    RecordPosition,
    Response,
    Validated,
)
from pipeline.routing import BertScore, Gate, NoScore, Routed


@dataclass(frozen=True)
class Record:
    """A record of `llm-responses-success` as read from the topic.

    Attributes:
        key: Its key.
        value: Its body.
        partition: Its partition.
        offset: Its offset.
    """

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int

    @property
    def source(self) -> RecordPosition:
        """Its position in Kafka."""
        return RecordPosition(topic=topics.RESPONSES_SUCCESS, partition=self.partition, offset=self.offset)


@dataclass(frozen=True)
class Sent:
    """An outgoing record and its topic."""

    topic: str
    key: bytes | None
    value: bytes


@dataclass(frozen=True)
class Decision:
    """The outcome of a record.

    Attributes:
        sent: The outgoing records.
        verdict: A quality, `regenerate`, `not_retryable` or `malformed`.
        log_fields: Fields of the log event: ids, never payloads.
    """

    sent: tuple[Sent, ...]
    verdict: str
    log_fields: dict[str, Any]


def read(record: Record) -> Response:
    """Parses an answer.

    Raises:
        InvalidMessage: The record is not a valid answer.
    """
    message = messages.read(topics.RESPONSES_SUCCESS, record.key, record.value)
    assert isinstance(message, Response)  # the topic's type
    return message


def decide(
    record: Record,
    result: BertScore | NoScore | Rejected | None,
    gate: Gate,
    now: datetime,
    judgement: Judgement | None = None,
) -> Decision:
    """Decides what happens to a record.

    Args:
        record: An answer, or an invalid record.
        result: Its score, or why it has none; None if there is nothing to compare it with or the record is invalid.
        gate: Thresholds and limit of attempts.
        now: Time of the decision.
        judgement: What the judge says; None if it was not asked.

    Returns:
        The decision; its records are small enough for their topics.
    """
    try:
        response = read(record)
    except InvalidMessage as error:
        return _malformed(record, str(error), now)
    log_fields: dict[str, Any] = {"question_id": response.question_id, "attempt": response.processing_attempts}
    if isinstance(result, Rejected):
        return _failed(record, response, result.status_code, f"the scorer rejected the answer: {result.message}", now)
    routed = routing.decide(response, result, gate, now, judgement)
    carrier, *records = (_sized(record, each) for each in routed)
    if carrier:
        # The record of an attempt is left out if it is too large itself: the question must still get its answer.
        sent = (carrier, *(each for each in records if each))
        if isinstance(result, NoScore):
            log_fields["unscorable"] = result.reason
        if judgement:
            log_fields |= {"judged_right": judgement.probability, "problem": judgement.problem}
        score = round(result.score, 4) if isinstance(result, BertScore) else None
        return Decision(sent, _verdict(routed), log_fields | {"score": score})
    return _failed(record, response, None, "the answer is too large for a message", now)


def _verdict(routed: list[routing.Routed]) -> str:
    first = routed[0].message
    return first.quality if isinstance(first, Validated) else "regenerate"


def _sized(record: Record, routed: Routed) -> Sent | None:
    """Returns the record for a message, with its history cut or dropped if it would be too large.

    Returns None if it is still too large.
    """
    for shorten in (_whole, sizes.with_short_history, _without_history):
        sent = Sent(routed.topic, record.key, shorten(routed.message).to_bytes())
        if sizes.fits(sent.topic, sent.key, sent.value):
            return sent
    return None


def _whole(message: Message) -> Message:
    return message


def _without_history(message: Message) -> Message:
    """Returns a message with only the question and the answer: its own answer, or the best one if it has none."""
    changes: dict[str, object] = {"attempts": (), "errors": ()}
    if isinstance(message, Response | Validated):
        changes["best"] = None
    if isinstance(message, Response):
        changes["samples"] = ()
    return message.model_copy(update=changes)


def _failed(record: Record, response: Response, status_code: int | None, reason: str, now: datetime) -> Decision:
    error = ProviderError(type="permanent", status_code=status_code, message=reason)
    response = response.model_copy(update={"errors": response.errors_with(error, now)})
    ended = routing.give_up(response, error, "not_retryable", record.source, now)
    log_fields = {"question_id": response.question_id, "attempt": response.processing_attempts, "error": reason}
    verdict = ended.message.quality if isinstance(ended.message, Validated) else "not_retryable"
    sent = _sized(record, ended)
    assert sent is not None  # the limit of `PERMANENT` is above that of the other topics
    return Decision((sent,), verdict, log_fields)


def _malformed(record: Record, reason: str, now: datetime) -> Decision:
    malformed = DeadLetter.of(record.key, record.value, record.source, reason, now)
    value = malformed.to_bytes()
    if not sizes.fits(topics.PERMANENT, record.key, value):
        # Only possible if the topic has a limit of its own.
        reason = f"{reason} (too large to forward: see its source)"
        value = DeadLetter.of(record.key, None, record.source, reason, now).to_bytes()
    return Decision(
        (Sent(topics.PERMANENT, record.key, value),), "malformed", {"error": reason, **record.source.model_dump()}
    )
