"""Cache of the outcomes of recent calls, so that a message that is read twice costs no second call.

A question is read again when a consumer or the broker crashes before an offset is committed, and when the Flink job
restarts from its last checkpoint and sends later regenerations again. The cached outcome is then sent again, and its
readers drop the copy. The cache is in Redis; when Redis loses it, the call is made again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from pipeline import messages
from pipeline.best_effort_redis import BestEffortRedis
from pipeline.cache import CALL_PREFIX, PAID_PREFIX
from pipeline.messages import InvalidMessage, Question
from pipeline.producer import Outgoing
from pipeline.providers.completions import Usage
from pipeline.providers.llm import Answer
from pipeline.providers.targets import Target

TTL_SECONDS = 3600
"""As long as Flink recognises copies of an answer."""


@dataclass(frozen=True)
class Paid:
    """An answer and its cost; None: the cost is unknown."""

    answer: Answer
    cost: Decimal | None

    def recorded(self) -> "Paid":
        """Returns the answer without tokens and cost, because a message already contains them."""
        return Paid(replace(self.answer, usage=Usage()), Decimal(0))


class CallCache:
    """Outgoing messages of calls, by question, time of asking, attempt, retry, provider and model."""

    def __init__(self, redis: BestEffortRedis) -> None:
        self._redis = redis

    def get(self, question: Question, target: Target) -> Outgoing | None:
        """Returns the outcome of this call; None when it was not made or Redis is unavailable."""
        kept = self._redis.get(_key(question, target))
        if kept is None:
            return None
        topic, _, body = kept.partition(b"\n")
        key = question.question_id.encode()
        try:
            return Outgoing(topic.decode(), messages.read(topic.decode(), key, body), key)
        except (InvalidMessage, KeyError, UnicodeDecodeError):  # written by another version
            return None

    def put(self, question: Question, target: Target, outgoing: Outgoing) -> None:
        """Stores the outcome of a call for an hour."""
        kept = outgoing.topic.encode() + b"\n" + outgoing.value
        self._redis.put(_key(question, target), kept, TTL_SECONDS)

    def get_paid(self, question: Question, target: Target) -> list[Paid]:
        """Returns the answers that an attempt already has: its answer, and samples to compare it with."""
        kept = self._redis.get(_paid_key(question, target))
        try:
            return [_read_paid(each) for each in json.loads(kept or b"[]")]
        except (ValueError, TypeError, LookupError, InvalidOperation):  # written by another version
            return []

    def put_paid(self, question: Question, target: Target, paid: Sequence[Paid]) -> None:
        """Stores the answers that an attempt already has, for an hour."""
        if paid:
            body = json.dumps([_write_paid(each) for each in paid])
            self._redis.put(_paid_key(question, target), body, TTL_SECONDS)


def _write_paid(paid: Paid) -> dict[str, object]:
    answer = paid.answer
    return {
        **{name: getattr(answer, name) for name in ("text", "model", "latency_ms", "finish_reason")},
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.reasoning_tokens],
        "cost": None if paid.cost is None else str(paid.cost),
    }


def _read_paid(document: dict[str, object]) -> Paid:
    fields = dict(document)
    usage, cost = fields.pop("usage"), fields.pop("cost")
    assert isinstance(usage, list)
    return Paid(Answer(usage=Usage(*usage), **fields), None if cost is None else Decimal(str(cost)))  # type: ignore[arg-type]


def _paid_key(question: Question, target: Target) -> str:
    return f"{PAID_PREFIX}:{_call(question, target)}:{question.processing_attempts}"


def _key(question: Question, target: Target) -> str:
    # Calls that do not count as a retry have the same retry count; the time of the last failure distinguishes them.
    failed_ms = round(question.errors[-1].failed_at.timestamp() * 1000) if question.errors else 0
    return f"{CALL_PREFIX}:{_call(question, target)}:{question.processing_attempts}:{question.retry_count}:{failed_ms}"


def _call(question: Question, target: Target) -> str:
    # A failed question that is asked again starts with attempt 1, at another time. A call to another model is another
    # call.
    asked_ms = round(question.asked_at.timestamp() * 1000)
    asked = hashlib.sha256(f"{target.base_url} {target.model}".encode()).hexdigest()[:16]
    return f"{question.question_id}:{asked_ms}:{asked}"
