"""The questions in PostgreSQL, in the fleet's tables, and known answers in Redis."""

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import redis
from sqlalchemy import create_engine, text

from .settings import Settings

CACHE_SECONDS = 86_400

_SHOWN = (
    "question_id",
    "question_text",
    "original_answer",
    "llm_response",
    "bert_score",
    "quality",
    "model",
    "processing_attempts",
    "total_processing_time_ms",
    "created_at",
)

# One statement for a new question and for one that was asked before: `xmax` is 0 in a row that was just inserted.
_ASK = text("""
    INSERT INTO questions (question_id, question_text, question_context, original_answer, asked_at)
    VALUES (:question_id, :question_text, :question_context, :original_answer, :asked_at)
    ON CONFLICT (question_id) DO UPDATE SET times_asked = questions.times_asked + 1
    RETURNING xmax = 0 AS new, status
""")

_FORGET = text("DELETE FROM questions WHERE question_id = :question_id AND status = 'pending'")

_FIND = text("SELECT * FROM responses WHERE question_id = :question_id")

# A question leaves `pending` only once, so that a task that runs twice changes nothing.
_COMPLETE = text("""
    WITH final AS (
        UPDATE questions SET status = 'completed'
        WHERE question_id = :question_id AND status = 'pending'
        RETURNING question_id
    ), kept AS (
        INSERT INTO responses (question_id, question_text, original_answer, llm_response, bert_score, bert_precision,
                               bert_recall, bert_f1, quality, scorer, model, processing_attempts,
                               total_processing_time_ms, created_at, updated_at)
        SELECT question_id, :question_text, :original_answer, :llm_response, CAST(:bert_score AS numeric),
               CAST(:bert_precision AS numeric), CAST(:bert_recall AS numeric), CAST(:bert_f1 AS numeric), :quality,
               :scorer, :model, :processing_attempts, :total_processing_time_ms, :created_at, :created_at
        FROM final
        ON CONFLICT DO NOTHING
    ), scored AS (
        INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens,
                              completion_tokens, generated_at)
        SELECT final.question_id, each.*
        FROM final CROSS JOIN json_to_recordset(CAST(:attempts AS json))
            AS each (attempt integer, model text, llm_response text, bert_score numeric, llm_latency_ms integer,
                     prompt_tokens integer, completion_tokens integer, generated_at timestamptz)
        ON CONFLICT DO NOTHING
    )
    SELECT question_id FROM final
""")

_FAIL = text("""
    WITH final AS (
        UPDATE questions SET status = 'failed'
        WHERE question_id = :question_id AND status = 'pending'
        RETURNING question_id
    )
    INSERT INTO failed_questions (question_id, reason, retry_count, last_error, failed_at)
    SELECT question_id, :reason, :retry_count, :last_error, :failed_at FROM final
    ON CONFLICT DO NOTHING
""")


class Store:
    """Storage of web server and workers. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._pool = create_engine(
            settings.postgres_url, pool_size=int(settings.postgres_pool_size), max_overflow=0, pool_timeout=30
        )
        self._cache = redis.Redis.from_url(settings.cache_url, socket_timeout=2)

    def ask(self, question: dict[str, Any]) -> tuple[bool, str]:
        """Records that a question was asked; returns whether it is new, and its status."""
        with self._pool.begin() as connection:
            row = connection.execute(_ASK, question).one()
        return row.new, row.status

    def forget(self, question_id: str) -> None:
        """Deletes a new question."""
        with self._pool.begin() as connection:
            connection.execute(_FORGET, {"question_id": question_id})

    def find(self, question_id: str) -> dict[str, Any] | None:
        """Returns the kept answer if the cache has it."""
        with contextlib.suppress(redis.RedisError):  # it may be unavailable
            if body := self._cache.get(question_id):
                return dict(json.loads(body))
        return None

    def read(self, question_id: str) -> dict[str, Any]:
        """Returns the kept answer from the database."""
        with self._pool.begin() as connection:
            return shown(dict(connection.execute(_FIND, {"question_id": question_id}).mappings().one()))

    def complete(self, answer: dict[str, Any]) -> None:
        """Stores the answer of a pending question, and then caches it."""
        with self._pool.begin() as connection:
            kept = connection.execute(_COMPLETE, answer | {"attempts": json.dumps(answer["attempts"])}).first()
        if kept:
            with contextlib.suppress(redis.RedisError):  # it may be unavailable
                self._cache.set(answer["question_id"], json.dumps(shown(answer)), ex=CACHE_SECONDS)

    def fail(self, question_id: str, reason: str, retry_count: int, last_error: str) -> None:
        """Marks a pending question as failed."""
        values = {
            "question_id": question_id,
            "reason": reason,
            "retry_count": retry_count,
            "last_error": last_error,
            "failed_at": datetime.now(UTC),
        }
        with self._pool.begin() as connection:
            connection.execute(_FAIL, values)


def shown(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of an answer that users see, as JSON values."""
    score, created_at = answer["bert_score"], answer["created_at"]
    return {name: answer[name] for name in _SHOWN} | {
        "bert_score": None if score is None else float(score),
        "created_at": created_at.isoformat() if isinstance(created_at, datetime) else created_at,
    }
