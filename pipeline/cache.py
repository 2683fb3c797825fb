"""The answer cache in Redis. Its content may disappear at any time without loss.

storage-writer fills it, storage-service reads it. Both treat an unavailable Redis like an empty one. Only the removal
of an answer needs Redis to be available, because Redis may still hold the answer when it is back.
"""

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pipeline.best_effort_redis import BestEffortRedis
from pipeline.errors import Unavailable
from pipeline.messages import Judge, Quality, RejectedBy, ScoreWarning, UnscoredReason
from pipeline.settings import CacheSettings

FORGOTTEN_SECONDS = 120
"""Time for which a removed answer cannot be stored again. It is longer than the time between a read from PostgreSQL and
the `put` of its result."""

CALL_PREFIX, PAID_PREFIX = "call", "paid"
"""Prefixes of the keys under which llm-consumer caches calls; the id of the question follows them."""


class Answer(BaseModel):
    """The final answer of a completed question, as users see it."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    question_id: str
    question_text: str
    original_answer: str | None
    references: tuple[str, ...] = Field((), description="Further references beside `original_answer`.")
    llm_response: str
    bert_score: float | None = Field(
        description="BERTScore of the answer against its best reference: 0 is the score of unrelated texts, 1 that of "
        "equal texts; null when it has no score."
    )
    bert_precision: float | None = Field(description="Raw: how well the answer's words are matched by the reference.")
    bert_recall: float | None = Field(description="Raw: how well the reference's words are matched by the answer.")
    bert_f1: float | None = Field(
        None, description="Raw: harmonic mean of precision and recall, from which `bert_score` is computed."
    )
    reference_index: int | None = Field(
        None,
        description="Reference with the highest score: 0 is `original_answer`, 1 the first of `references`; null when "
        "the answer was not compared with a reference.",
    )
    quality: Quality
    unscored_reason: UnscoredReason | None = Field(
        None,
        description="Why there is no score: no reference; or the scorer cannot read the answer, or any reference, "
        "because of too many unknown words or another language. Null for a scored answer, and for one of "
        "an older version.",
    )
    warnings: list[ScoreWarning] = Field(
        [],
        description="What to know about the score. `truncated`: the end of a long text did not affect it. "
        "`repetition`: the answer repeats itself. `other_number`, `other_name`: the answer has one that the reference "
        "lacks, and lacks one that the reference has.",
    )
    judge: Judge | None = Field(
        None, description="What the judge says; null when no judge was asked, or the references were replaced since."
    )
    rejected_by: RejectedBy | None = Field(
        None,
        description="Why the answer is not accepted: its `score` is below the threshold, or only the `judge` rejects "
        "it. Null for an accepted or unscored answer, and for one of an older version.",
    )
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
        """Returns the answer, or None when it is not cached or Redis is unavailable."""
        body = self._redis.get(_key(question_id))
        if body is None:
            return None
        try:
            return Answer.model_validate_json(body)
        except ValidationError:  # written by another version
            return None

    def put(self, answer: Answer) -> None:
        """Stores an answer for the time to live, unless it is older than the last `invalidate` of its question."""
        self._redis.put_newer(
            _key(answer.question_id), answer.model_dump_json(), self._ttl, _microseconds(answer.created_at)
        )

    def invalidate(self, *question_ids: str) -> None:
        """Removes answers, and prevents other processes from storing an older version that they have just read.

        Call it before PostgreSQL is changed.

        Raises:
            Unavailable: Redis is unavailable.
        """
        now = _microseconds(datetime.now(UTC))
        if not self._redis.mark([_key(each) for each in question_ids], now, FORGOTTEN_SECONDS):
            raise Unavailable("Redis is unavailable, and may still hold the answer when it is back.")

    def forget(self, question_id: str) -> None:
        """Removes an answer, as `invalidate` does, and the calls of the question that llm-consumer has cached.

        Raises:
            Unavailable: Redis is unavailable.
        """
        self.invalidate(question_id)
        if not self._redis.delete_matching([f"{prefix}:{question_id}:*" for prefix in (CALL_PREFIX, PAID_PREFIX)]):
            raise Unavailable("Redis is unavailable, and may still hold the question's calls when it is back.")

    def ping(self) -> None:
        """Raises when Redis is unavailable."""
        self._redis.ping()


def _key(question_id: str) -> str:
    return f"answer:{question_id}"


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
