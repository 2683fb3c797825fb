"""The answer cache in Redis: what may vanish at any time without loss.

storage-writer fills it, storage-service reads it; both treat an absent Redis like an empty one. Only who takes
an answer out needs it there: a Redis that comes back may know what it knew.
"""

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pipeline.best_effort_redis import BestEffortRedis
from pipeline.errors import Unavailable
from pipeline.messages import Quality
from pipeline.settings import CacheSettings

FORGOTTEN_SECONDS = 120
"""For which an answer that was taken out cannot be put in again. No look into PostgreSQL and the put that follows from
it are further apart."""

CALL_PREFIX, PAID_PREFIX = "call", "paid"
"""Of the keys under which llm-consumer remembers calls, with the question's id behind them."""


class Answer(BaseModel):
    """The kept answer of a completed question, as users see it."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    question_id: str
    question_text: str
    original_answer: str | None
    llm_response: str
    bert_score: float | None = Field(
        description="BERTScore of the answer against the reference: 0 is what unrelated texts get, 1 is identity; null "
        "when there is no reference."
    )
    bert_precision: float | None = Field(description="Raw: how well the answer's words are matched by the reference.")
    bert_recall: float | None = Field(description="Raw: how well the reference's words are matched by the answer.")
    bert_f1: float | None = Field(None, description="Raw: harmonic mean of the two, from which `bert_score` is made.")
    quality: Quality
    scorer: str | None
    model: str
    processing_attempts: int
    total_processing_time_ms: int
    created_at: AwareDatetime


class Cache:
    """Answers by question id, with a time to live."""

    def __init__(self, settings: CacheSettings, client_name: str) -> None:
        self._ttl = settings.cache_ttl_seconds
        self._redis = BestEffortRedis(settings, client_name)

    def get(self, question_id: str) -> Answer | None:
        """Returns the answer, or None when it is not there or Redis is not."""
        body = self._redis.get(_key(question_id))
        if body is None:
            return None
        try:
            return Answer.model_validate_json(body)
        except ValidationError:  # written by another version
            return None

    def put(self, answer: Answer) -> None:
        """Keeps an answer for the time to live, unless it is older than the last `invalidate` of its question."""
        self._redis.put_newer(
            _key(answer.question_id), answer.model_dump_json(), self._ttl, _microseconds(answer.created_at)
        )

    def invalidate(self, *question_ids: str) -> None:
        """Takes answers out, and keeps older ones from being put in by somebody who read them a moment ago.

        Call it before PostgreSQL is changed.

        Raises:
            Unavailable: Redis is away.
        """
        now = _microseconds(datetime.now(UTC))
        if not self._redis.mark([_key(each) for each in question_ids], now, FORGOTTEN_SECONDS):
            raise Unavailable("Redis is away, and may still know the answer when it is back.")

    def forget(self, question_id: str) -> None:
        """Takes out an answer, as `invalidate` does, and what llm-consumer remembers of the question's calls.

        Raises:
            Unavailable: Redis is away.
        """
        self.invalidate(question_id)
        if not self._redis.delete_matching([f"{prefix}:{question_id}:*" for prefix in (CALL_PREFIX, PAID_PREFIX)]):
            raise Unavailable("Redis is away, and may still know the question's calls when it is back.")

    def ping(self) -> None:
        """Raises when Redis is away."""
        self._redis.ping()


def _key(question_id: str) -> str:
    return f"answer:{question_id}"


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
