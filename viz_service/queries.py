"""One method for each chart: aggregates in SQL, typed rows out.

`Queries` is the interface that the routes see; `PostgresQueries` is the real one. Each method is one read-only
transaction with one snapshot, so that the numbers of a reply fit together while answers arrive.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, RowMapping, TextClause, text

from pipeline import postgres
from viz_service import buckets
from viz_service.confidence import mean_interval
from viz_service.schemas import (
    AnswerCounts,
    AttemptScore,
    AttemptShare,
    Histogram,
    Improvement,
    Interval,
    LlmUse,
    Point,
    ProcessingTime,
    QuestionCounts,
    Regeneration,
    ScoreSummary,
    Statistics,
    Timeseries,
    TopQuestions,
)

QUESTIONS = text("""
    SELECT
        coalesce(sum(times_asked), 0)                AS asked,
        count(*)                                     AS total,
        count(*) FILTER (WHERE status = 'pending')   AS pending,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed')    AS failed
    FROM questions
""")

ANSWERS = text("""
    SELECT
        now()                                                              AS generated_at,
        count(*)                                                           AS total,
        count(*) FILTER (WHERE quality = 'accepted')                       AS accepted,
        count(*) FILTER (WHERE quality = 'max_retries_reached')            AS max_retries_reached,
        count(*) FILTER (WHERE quality = 'unscored')                       AS unscored,
        count(bert_score)                                                  AS count,
        avg(bert_score)                                                    AS mean,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY bert_score)            AS median,
        stddev_samp(bert_score)                                            AS deviation,
        min(bert_score)                                                    AS min,
        max(bert_score)                                                    AS max,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY total_processing_time_ms)  AS p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY total_processing_time_ms) AS p95
    FROM responses
""")

ATTEMPTS = text("""
    SELECT processing_attempts AS attempts, count(*) AS answers
    FROM responses
    GROUP BY processing_attempts
    ORDER BY processing_attempts
""")

TOKENS = text("""
    SELECT
        coalesce(sum(prompt_tokens), 0)     AS prompt_tokens,
        coalesce(sum(completion_tokens), 0) AS completion_tokens
    FROM attempts
""")

TIME_SPAN = text("""
    SELECT now() AS until, now() - :span AS start, (
        SELECT min(created_at) FROM responses
        WHERE created_at >= now() - :span AND created_at <= now() AND bert_score IS NOT NULL
    ) AS first
""")

# The origin is a full hour: buckets begin on round times.
TIME_POINTS = text("""
    SELECT
        date_bin(:width, created_at, timestamptz '2000-01-01 00:00:00+00') AS start,
        avg(bert_score)                                                    AS mean_score,
        count(*)                                                           AS count
    FROM responses
    WHERE created_at >= :since AND created_at <= now() AND bert_score IS NOT NULL
    GROUP BY start
    ORDER BY start
""")

SCORE_BINS = text("""
    SELECT floor((bert_score - :threshold) * :bins_per_unit)::integer AS bin, count(*) AS count
    FROM responses
    WHERE bert_score IS NOT NULL
    GROUP BY bin
""")

SCORES_BY_ATTEMPTS = text("""
    SELECT kept.attempts, kept.count, kept.mean_score, pairs.mean_first_score
    FROM (
        SELECT processing_attempts AS attempts, count(*) AS count, avg(bert_score) AS mean_score
        FROM responses
        WHERE bert_score IS NOT NULL
        GROUP BY processing_attempts
    ) AS kept
    LEFT JOIN (
        SELECT processing_attempts AS attempts, avg(first_score) AS mean_first_score
        FROM regeneration_analysis
        GROUP BY processing_attempts
    ) AS pairs USING (attempts)
    ORDER BY attempts
""")

REGENERATION = text("""
    SELECT
        count(*)                        AS count,
        count(*) FILTER (WHERE gain > 0) AS improved,
        avg(first_score)                AS mean_first_score,
        avg(kept_score)                 AS mean_kept_score,
        avg(gain)                       AS mean_gain,
        stddev_samp(gain)               AS deviation
    FROM regeneration_analysis
    WHERE processing_attempts > 1 AND gain IS NOT NULL
""")

_QUESTION = """
    SELECT
        questions.question_id,
        left(questions.question_text, 500)  AS question_text,
        questions.times_asked,
        questions.status,
        responses.quality,
        responses.bert_score,
        responses.processing_attempts,
        left(responses.llm_response, 500)   AS llm_response,
        questions.asked_at
"""

# The inner queries walk an index and stop after `limit`; only those few rows are joined.
MOST_ASKED = text(f"""
    {_QUESTION}
    FROM (SELECT * FROM questions ORDER BY times_asked DESC, asked_at DESC LIMIT :limit) AS questions
    LEFT JOIN responses USING (question_id)
    ORDER BY times_asked DESC, asked_at DESC
""")

BEST = text(f"""
    {_QUESTION}
    FROM (
        SELECT * FROM responses WHERE bert_score IS NOT NULL ORDER BY bert_score DESC, question_id LIMIT :limit
    ) AS responses
    JOIN questions USING (question_id)
    ORDER BY bert_score DESC, question_id
""")

WORST = text(f"""
    {_QUESTION}
    FROM (
        SELECT * FROM responses WHERE bert_score IS NOT NULL ORDER BY bert_score, question_id LIMIT :limit
    ) AS responses
    JOIN questions USING (question_id)
    ORDER BY bert_score, question_id
""")

# Naming the view makes "ready" mean that the schema is there as well, not only the server.
READY = text("SELECT EXISTS (SELECT FROM regeneration_analysis)")


class Queries(Protocol):
    """What the routes ask for. Each method raises `Unavailable` when the database is away."""

    def check(self) -> None:
        """Raises when the database or its schema is not there."""

    def statistics(self) -> Statistics:
        """Returns the headline numbers."""

    def timeseries(self, hours: int) -> Timeseries:
        """Returns mean scores over the last `hours`."""

    def histogram(self) -> Histogram:
        """Returns kept answers by score."""

    def improvement(self) -> Improvement:
        """Returns scores by attempts, and first against kept answers of the same questions."""

    def top(self, limit: int) -> TopQuestions:
        """Returns the `limit` most asked, best and worst questions."""


class PostgresQueries:
    """The queries against PostgreSQL."""

    def __init__(self, pool: Engine, threshold: float) -> None:
        self._pool = pool
        self._threshold = threshold

    def check(self) -> None:
        """See `Queries`."""
        with self._read() as connection:
            connection.execute(READY)

    def statistics(self) -> Statistics:
        """See `Queries`."""
        with self._read() as connection:
            questions = _one(connection, QUESTIONS)
            answers = _one(connection, ANSWERS)
            attempts = _all(connection, ATTEMPTS)
            tokens = _one(connection, TOKENS)
        total = answers["total"]
        calls = sum(row["attempts"] * row["answers"] for row in attempts)
        return Statistics(
            generated_at=answers["generated_at"],
            threshold=self._threshold,
            questions=QuestionCounts.model_validate(questions),
            answers=AnswerCounts.model_validate(answers),
            scores=ScoreSummary.model_validate(answers),
            attempts=[AttemptShare(share=row["answers"] / total, **row) for row in attempts],
            llm=LlmUse(calls=calls, overhead_percent=(calls - total) / total * 100 if total else None, **tokens),
            total_processing_time_ms=ProcessingTime.model_validate(answers),
        )

    def timeseries(self, hours: int) -> Timeseries:
        """See `Queries`."""
        with self._read() as connection:
            span = _one(connection, TIME_SPAN, span=timedelta(hours=hours))
            # From the first answer on: a fleet that is ten minutes old gets ten points, not two.
            since = span["first"] or span["start"]
            width = buckets.time_bucket((span["until"] - since).total_seconds())
            points = _all(connection, TIME_POINTS, since=since, width=timedelta(seconds=width))
        return Timeseries(
            since=since,
            until=span["until"],
            hours=hours,
            bucket_seconds=width,
            points=[Point.model_validate(row) for row in points],
        )

    def histogram(self) -> Histogram:
        """See `Queries`."""
        with self._read() as connection:
            rows = _all(
                connection, SCORE_BINS, threshold=Decimal(str(self._threshold)), bins_per_unit=buckets.BINS_PER_UNIT
            )
        return buckets.histogram(self._threshold, {row["bin"]: row["count"] for row in rows})

    def improvement(self) -> Improvement:
        """See `Queries`."""
        with self._read() as connection:
            by_attempts = _all(connection, SCORES_BY_ATTEMPTS)
            pairs = _one(connection, REGENERATION)
        return Improvement(
            by_attempts=[AttemptScore.model_validate(row) for row in by_attempts], regenerated=regeneration(pairs)
        )

    def top(self, limit: int) -> TopQuestions:
        """See `Queries`."""
        with self._read() as connection:
            most_asked, best, worst = (_all(connection, query, limit=limit) for query in (MOST_ASKED, BEST, WORST))
        return TopQuestions.model_validate({"most_asked": most_asked, "best": best, "worst": worst})

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with postgres.transaction(self._pool) as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
            yield connection


def regeneration(pairs: dict[str, Any]) -> Regeneration:
    """Adds the interval and the relative gain to the aggregates of `REGENERATION`. Pure."""
    gain, first, deviation = pairs["mean_gain"], pairs["mean_first_score"], pairs["deviation"]
    interval = None
    if gain is not None and deviation is not None:
        interval = mean_interval(float(gain), float(deviation), pairs["count"])
    return Regeneration(
        gain_interval=Interval(low=interval[0], high=interval[1]) if interval else None,
        # BERTScores may be zero or negative; a ratio to those says nothing.
        relative_gain_percent=float(gain / first * 100) if first is not None and first > 0 else None,
        **{name: pairs[name] for name in ("count", "improved", "mean_first_score", "mean_kept_score", "mean_gain")},
    )


def _one(connection: Connection, query: TextClause, **parameters: Any) -> dict[str, Any]:
    row: RowMapping = connection.execute(query, parameters).mappings().one()
    return dict(row)


def _all(connection: Connection, query: TextClause, **parameters: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query, parameters).mappings()]
