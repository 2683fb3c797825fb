"""What came of calls of late, so that a message that is read twice costs no second call.

A question comes again when a consumer or the broker dies before an offset is committed, and when the Flink job goes
back to its last checkpoint and sends the regenerations since then once more. What came of it is sent again, too, and
those who read it drop the copy. It lies in Redis and may vanish: then the call is made again.
"""

import hashlib

from llm_consumer.targets import Target
from pipeline import messages
from pipeline.messages import Question, Unreadable
from pipeline.producer import Outgoing
from pipeline.volatile import Volatile

TTL_SECONDS = 3600
"""As long as Flink knows a copy of an answer to be one."""


class Memo:
    """Messages that followed from calls, by question, time of asking, attempt, retry, provider and model."""

    def __init__(self, redis: Volatile) -> None:
        self._redis = redis

    def recall(self, question: Question, target: Target) -> Outgoing | None:
        """Returns what came of this call, None when it was not made or Redis is away."""
        kept = self._redis.get(_key(question, target))
        if kept is None:
            return None
        topic, _, body = kept.partition(b"\n")
        key = question.question_id.encode()
        try:
            return Outgoing(topic.decode(), messages.read(topic.decode(), key, body), key)
        except (Unreadable, KeyError, UnicodeDecodeError):  # written by another version
            return None

    def keep(self, question: Question, target: Target, outgoing: Outgoing) -> None:
        """Keeps what came of a call for an hour."""
        kept = outgoing.topic.encode() + b"\n" + outgoing.message.to_bytes()
        self._redis.put(_key(question, target), kept, TTL_SECONDS)


def _key(question: Question, target: Target) -> str:
    # A failed question that is asked anew starts with attempt 1 again, at another time; a model that was exchanged is
    # another call.
    asked_ms = round(question.asked_at.timestamp() * 1000)
    asked = hashlib.sha256(f"{target.base_url} {target.model}".encode()).hexdigest()[:16]
    return f"call:{question.question_id}:{asked_ms}:{question.processing_attempts}:{question.retry_count}:{asked}"
