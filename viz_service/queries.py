"""One method for each chart: aggregates in SQL, typed rows out.

`Queries` is the interface that the routes see; `PostgresQueries` is the real one. Each method is one read-only
transaction with one snapshot, so that the numbers of a reply fit together while answers arrive.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, RowMapping, TextClause, text

from pipeline import postgres
from viz_service import buckets
from viz_service.confidence import mean_interval
from viz_service.schemas import (
    AnswerCounts,
    Attempt,
    AttemptScore,
    AttemptShare,
    CallError,
    Failure,
    Filter,
    Histogram,
    Improvement,
    Interval,
    KeptAnswer,
    LlmUse,
    Point,
    ProcessingTime,
    QuestionCounts,
    QuestionDetail,
    QuestionRow,
    Questions,
    QuestionsQuery,
    Regeneration,
    ScoreSummary,
    Statistics,
    Timeseries,
    TopQuestions,
    Usage,
    WhatIf,
)

# Scores against a reference, which are on one scale; a self-check's is another.
_REFERENCE = "quality IN ('accepted', 'max_retries_reached')"

QUESTIONS = text("""
    SELECT
        coalesce(sum(times_asked), 0)                AS asked,
        count(*)                                     AS total,
        count(*) FILTER (WHERE status = 'pending')   AS pending,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        count(*) FILTER (WHERE status = 'failed')    AS failed
    FROM questions
""")

ANSWERS = text(f"""
    SELECT
        now()                                                              AS generated_at,
        count(*)                                                           AS total,
        count(*) FILTER (WHERE quality = 'accepted')                       AS accepted,
        count(*) FILTER (WHERE quality = 'max_retries_reached')            AS max_retries_reached,
        count(*) FILTER (WHERE quality = 'self_check_accepted')            AS self_check_accepted,
        count(*) FILTER (WHERE quality = 'self_check_max_retries_reached') AS self_check_max_retries_reached,
        count(*) FILTER (WHERE quality = 'unscored')                       AS unscored,
        count(bert_score) FILTER (WHERE {_REFERENCE})                      AS count,
        avg(bert_score) FILTER (WHERE {_REFERENCE})                        AS mean,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY bert_score) FILTER (WHERE {_REFERENCE}) AS median,
        stddev_samp(bert_score) FILTER (WHERE {_REFERENCE})                AS deviation,
        min(bert_score) FILTER (WHERE {_REFERENCE})                        AS min,
        max(bert_score) FILTER (WHERE {_REFERENCE})                        AS max,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY total_processing_time_ms)  AS p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY total_processing_time_ms) AS p95
    FROM responses
    WHERE created_at >= :since
""")

ATTEMPTS = text("""
    SELECT
        processing_attempts                          AS attempts,
        count(*)                                     AS answers,
        count(*) FILTER (WHERE quality = 'accepted') AS accepted
    FROM responses
    WHERE created_at >= :since
    GROUP BY processing_attempts
    ORDER BY processing_attempts
""")

_CALLS = """
        SELECT question_id, prompt_tokens, completion_tokens, cost FROM attempts WHERE generated_at >= :since
        UNION ALL
        SELECT question_id, prompt_tokens, completion_tokens, cost FROM call_errors WHERE failed_at >= :since
"""

TOKENS = text(f"""
    SELECT
        coalesce(sum(prompt_tokens), 0)     AS prompt_tokens,
        coalesce(sum(completion_tokens), 0) AS completion_tokens
    FROM ({_CALLS}) AS calls
""")

# As the view cost_summary: what was spent in vain is in it, questions of which no price is known are not. Points are of
# scores against a reference, so what self-checks cost is left out there.
COSTS = text(f"""
    WITH priced AS (
        SELECT question_id, sum(cost) AS cost FROM ({_CALLS}) AS calls WHERE cost IS NOT NULL GROUP BY question_id
    ), judged AS (
        SELECT cost, quality, bert_score, coalesce(quality LIKE 'self_check%', false) AS self_checked
        FROM priced LEFT JOIN responses USING (question_id)
    )
    SELECT
        sum(cost)                                                                        AS cost,
        round(sum(cost) / nullif(count(*) FILTER (WHERE quality = 'accepted'), 0), 9)    AS cost_per_accepted,
        round(
            sum(cost) FILTER (WHERE NOT self_checked)
            / nullif(sum(greatest(bert_score, 0)) FILTER (WHERE NOT self_checked), 0), 9
        )                                                                                AS cost_per_point
    FROM judged
""")

TIME_SPAN = text(f"""
    SELECT now() AS until, (
        SELECT min(created_at) FROM responses
        WHERE created_at >= :since AND created_at <= now() AND bert_score IS NOT NULL AND {_REFERENCE}
    ) AS first
""")

# The origin is a full hour: buckets begin on round times.
TIME_POINTS = text(f"""
    SELECT
        date_bin(:width, created_at, timestamptz '2000-01-01 00:00:00+00') AS start,
        avg(bert_score)                                                    AS mean_score,
        count(*)                                                           AS count
    FROM responses
    WHERE created_at >= :since AND created_at <= now() AND bert_score IS NOT NULL AND {_REFERENCE}
    GROUP BY start
    ORDER BY start
""")

SCORE_BINS = text(f"""
    SELECT floor((bert_score - :threshold) * :bins_per_unit)::integer AS bin, count(*) AS count
    FROM responses
    WHERE bert_score IS NOT NULL AND {_REFERENCE} AND created_at >= :since
    GROUP BY bin
""")

SCORES_BY_ATTEMPTS = text(f"""
    SELECT kept.attempts, kept.count, kept.mean_score, pairs.mean_first_score
    FROM (
        SELECT processing_attempts AS attempts, count(*) AS count, avg(bert_score) AS mean_score
        FROM responses
        WHERE bert_score IS NOT NULL AND {_REFERENCE} AND created_at >= :since
        GROUP BY processing_attempts
    ) AS kept
    LEFT JOIN (
        SELECT processing_attempts AS attempts, avg(first_score) AS mean_first_score
        FROM regeneration_analysis
        WHERE {_REFERENCE} AND created_at >= :since
        GROUP BY processing_attempts
    ) AS pairs USING (attempts)
    ORDER BY attempts
""")

REGENERATION = text(f"""
    SELECT
        count(*)                        AS count,
        count(*) FILTER (WHERE gain > 0) AS improved,
        avg(first_score)                AS mean_first_score,
        avg(kept_score)                 AS mean_kept_score,
        avg(gain)                       AS mean_gain,
        stddev_samp(gain)               AS deviation
    FROM regeneration_analysis
    WHERE processing_attempts > 1 AND gain IS NOT NULL AND {_REFERENCE} AND created_at >= :since
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
        SELECT * FROM responses WHERE bert_score IS NOT NULL AND {_REFERENCE}
        ORDER BY bert_score DESC, question_id LIMIT :limit
    ) AS responses
    JOIN questions USING (question_id)
    ORDER BY bert_score DESC, question_id
""")

WORST = text(f"""
    {_QUESTION}
    FROM (
        SELECT * FROM responses WHERE bert_score IS NOT NULL AND {_REFERENCE}
        ORDER BY bert_score, question_id LIMIT :limit
    ) AS responses
    JOIN questions USING (question_id)
    ORDER BY bert_score, question_id
""")

# What a threshold would do to the attempts that there are. A question is censored where it was accepted below the
# threshold tried: nobody asked it again, so what it would have scored is unknown.
WHAT_IF = text(f"""
    WITH tried AS (
        SELECT
            question_id,
            count(*)                                                          AS made,
            min(attempt) FILTER (WHERE bert_score >= :threshold)              AS passed_at,
            max(bert_score)                                                   AS best,
            (array_agg(bert_score ORDER BY attempt) FILTER (WHERE bert_score >= :threshold))[1] AS passing
        FROM attempts
        WHERE bert_score IS NOT NULL AND attempt <= :max_attempts
              AND EXISTS (SELECT FROM responses WHERE responses.question_id = attempts.question_id AND {_REFERENCE})
        GROUP BY question_id
    )
    SELECT
        passed_at,
        passed_at IS NULL AND made < :max_attempts AS unknown,
        made,
        count(*)                                   AS questions,
        sum(coalesce(passing, best))               AS scores
    FROM tried
    GROUP BY 1, 2, 3
""")

_MATCHING = """
    FROM questions
    LEFT JOIN responses USING (question_id)
    WHERE (:text = '' OR questions.question_text ILIKE :pattern)
      AND (CAST(:status AS text) IS NULL OR status = :status)
      AND (CAST(:quality AS text) IS NULL OR quality = :quality)
      AND (CAST(:score_min AS numeric) IS NULL OR bert_score >= :score_min)
      AND (CAST(:score_max AS numeric) IS NULL OR bert_score <= :score_max)
      AND (CAST(:attempts AS integer) IS NULL OR processing_attempts = :attempts)
      AND (CAST(:topic AS text) IS NULL OR topic = :topic)
"""
_BY_SCALE = f"bert_score IS NULL, NOT {_REFERENCE}"
"""Scores against a reference come before those of a self-check; what has no score comes last."""
_ORDERS: dict[str, str] = {
    "newest": "asked_at DESC, question_id",
    "oldest": "asked_at, question_id DESC",
    "most-asked": "times_asked DESC, question_id",
    "best": f"{_BY_SCALE}, bert_score DESC, question_id",
    "worst": f"{_BY_SCALE}, bert_score, question_id",
    "slowest": "total_processing_time_ms DESC NULLS LAST, question_id",
}

COUNT_MATCHING = text(f"SELECT count(*) AS total {_MATCHING}")
MATCHING = {
    sort: text(f"""
    SELECT question_id, left(questions.question_text, 300) AS question_text, topic, status, quality, bert_score,
           processing_attempts, total_processing_time_ms, times_asked, asked_at
    {_MATCHING}
    ORDER BY {order}
    LIMIT :limit OFFSET :offset
    """)
    for sort, order in _ORDERS.items()
}
EXPORTED = {
    sort: text(f"""
    SELECT question_id, questions.question_text, question_context, questions.original_answer, topic, status,
           times_asked, asked_at, llm_response, quality, bert_score, bert_precision, bert_recall, processing_attempts,
           total_processing_time_ms, model, scorer, created_at AS completed_at
    {_MATCHING}
    ORDER BY {order}
    """)
    for sort, order in _ORDERS.items()
}

# From one topic to the next in the index: the time goes with the number of topics, not of questions.
TOPICS = text("""
    WITH RECURSIVE known AS (
        (SELECT topic FROM questions WHERE topic IS NOT NULL ORDER BY topic LIMIT 1)
        UNION ALL
        SELECT (SELECT topic FROM questions WHERE topic > known.topic ORDER BY topic LIMIT 1)
        FROM known WHERE known.topic IS NOT NULL
    )
    SELECT topic FROM known WHERE topic IS NOT NULL LIMIT :limit
""")
MAX_TOPICS = 100
"""Of more than these, which anybody may invent, the rest is found by `?topic=` alone."""

DETAIL = text("""
    SELECT question_id, question_text, question_context, original_answer, topic, status, times_asked, asked_at,
           published_at
    FROM questions
    WHERE question_id = :question_id
""")
DETAIL_ANSWER = text("""
    SELECT llm_response, bert_score, bert_precision, bert_recall, quality, scorer, model, processing_attempts,
           total_processing_time_ms, created_at
    FROM responses
    WHERE question_id = :question_id
""")
DETAIL_FAILURE = text("""
    SELECT reason, retry_count, last_error, failed_at FROM failed_questions WHERE question_id = :question_id
""")
DETAIL_ATTEMPTS = text("""
    SELECT attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens,
           reasoning_tokens, cost, generated_at
    FROM attempts
    WHERE question_id = :question_id
    ORDER BY attempt
""")
DETAIL_ERRORS = text("""
    SELECT attempt, retry, type, cause, status_code, message, counts_as_retry, times, prompt_tokens, completion_tokens,
           cost, failed_at, due_at
    FROM call_errors
    WHERE question_id = :question_id
    ORDER BY failed_at, attempt, retry
""")
DETAIL_USAGE = text("""
    SELECT prompt_tokens, completion_tokens, cost FROM question_usage WHERE question_id = :question_id
""")

RECENT = text(f"""
    SELECT
        count(bert_score) FILTER (WHERE {_REFERENCE}) AS scored,
        count(*) FILTER (WHERE quality = 'max_retries_reached') AS below
    FROM responses
    WHERE created_at >= now() - interval '1 hour'
""")

# One core for each query: what is costly here groups by question, and parallel workers only make that slower (100,000
# attempts with prices, two busy cores: 345 and 474 ms with them, 170 and 113 ms without).
_BEGIN = text("""
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL max_parallel_workers_per_gather = 0
""")

# Naming the view makes "ready" mean that the schema is there as well, not only the server.
READY = text("SELECT EXISTS (SELECT FROM regeneration_analysis)")


class Queries(Protocol):
    """What the routes ask for. Each method raises `Unavailable` when the database is away."""

    def check(self) -> None:
        """Raises when the database or its schema is not there."""

    def statistics(self, hours: int | None = None) -> Statistics:
        """Returns the headline numbers, those about answers of the last `hours` alone."""

    def timeseries(self, hours: int | None) -> Timeseries:
        """Returns mean scores over the last `hours`."""

    def histogram(self, hours: int | None = None) -> Histogram:
        """Returns kept answers by score."""

    def improvement(self, hours: int | None = None) -> Improvement:
        """Returns scores by attempts, and first against kept answers of the same questions."""

    def top(self, limit: int) -> TopQuestions:
        """Returns the `limit` most asked, best and worst questions."""

    def what_if(self, threshold: float) -> WhatIf:
        """Returns what a threshold would do to the stored attempts."""

    def questions(self, query: QuestionsQuery) -> Questions:
        """Returns a page of the questions that a filter lets through."""

    def topics(self) -> list[str]:
        """Returns the first `MAX_TOPICS` topics of questions, in order."""

    def export(self, query: Filter) -> Iterator[Mapping[str, Any]]:
        """Yields all questions that a filter lets through, row by row."""

    def question(self, question_id: str) -> QuestionDetail | None:
        """Returns all about a question; None for an unknown one."""

    def recent(self) -> tuple[int, int]:
        """Returns the scored answers of the last hour, and those of them that were kept below the threshold."""


class PostgresQueries:
    """The queries against PostgreSQL."""

    def __init__(self, pool: Engine, threshold: float, max_attempts: int) -> None:
        self._pool = pool
        self._threshold = threshold
        self._max_attempts = max_attempts

    def check(self) -> None:
        """See `Queries`."""
        with self._read() as connection:
            connection.execute(READY)

    def statistics(self, hours: int | None = None) -> Statistics:
        """See `Queries`."""
        since = _since(hours)
        with self._read() as connection:
            questions = _one(connection, QUESTIONS)
            answers = _one(connection, ANSWERS, since=since)
            attempts = _all(connection, ATTEMPTS, since=since)
            tokens = _one(connection, TOKENS, since=since)
            costs = _one(connection, COSTS, since=since)
        total, accepted = answers["total"], answers["accepted"]
        calls = sum(row["attempts"] * row["answers"] for row in attempts)
        return Statistics(
            generated_at=answers["generated_at"],
            threshold=self._threshold,
            questions=QuestionCounts.model_validate(questions),
            answers=AnswerCounts.model_validate(answers),
            scores=ScoreSummary.model_validate(answers),
            attempts=[AttemptShare(share=row["answers"] / total, **row) for row in attempts],
            llm=LlmUse(
                calls=calls,
                calls_per_accepted=calls / accepted if accepted else None,
                overhead_percent=(calls - total) / total * 100 if total else None,
                tokens_per_accepted=sum(tokens.values()) / accepted if accepted else None,
                **tokens,
                **costs,
            ),
            total_processing_time_ms=ProcessingTime.model_validate(answers),
        )

    def timeseries(self, hours: int | None) -> Timeseries:
        """See `Queries`."""
        start = _since(hours)
        with self._read() as connection:
            span = _one(connection, TIME_SPAN, since=start)
            # From the first answer on: a fleet that is ten minutes old gets ten points, not two.
            since = span["first"] or (start if hours else span["until"])
            width = buckets.time_bucket((span["until"] - since).total_seconds())
            points = _all(connection, TIME_POINTS, since=since, width=timedelta(seconds=width))
        return Timeseries(
            since=since,
            until=span["until"],
            hours=hours,
            bucket_seconds=width,
            points=[Point.model_validate(row) for row in points],
        )

    def histogram(self, hours: int | None = None) -> Histogram:
        """See `Queries`."""
        with self._read() as connection:
            rows = _all(
                connection,
                SCORE_BINS,
                threshold=Decimal(str(self._threshold)),
                bins_per_unit=buckets.BINS_PER_UNIT,
                since=_since(hours),
            )
        return buckets.histogram(self._threshold, {row["bin"]: row["count"] for row in rows})

    def improvement(self, hours: int | None = None) -> Improvement:
        """See `Queries`."""
        with self._read() as connection:
            by_attempts = _all(connection, SCORES_BY_ATTEMPTS, since=_since(hours))
            pairs = _one(connection, REGENERATION, since=_since(hours))
        return Improvement(
            by_attempts=[AttemptScore.model_validate(row) for row in by_attempts], regenerated=regeneration(pairs)
        )

    def top(self, limit: int) -> TopQuestions:
        """See `Queries`."""
        with self._read() as connection:
            most_asked, best, worst = (_all(connection, query, limit=limit) for query in (MOST_ASKED, BEST, WORST))
        return TopQuestions.model_validate({"most_asked": most_asked, "best": best, "worst": worst})

    def what_if(self, threshold: float) -> WhatIf:
        """See `Queries`."""
        with self._read() as connection:
            rows = _all(connection, WHAT_IF, threshold=Decimal(str(threshold)), max_attempts=self._max_attempts)
        return what_if(threshold, self._max_attempts, rows)

    def questions(self, query: QuestionsQuery) -> Questions:
        """See `Queries`."""
        wanted = _parameters(query)
        with self._read() as connection:
            total = _one(connection, COUNT_MATCHING, **wanted)["total"]
            rows = _all(
                connection,
                MATCHING[query.sort],
                **wanted,
                limit=query.limit,
                offset=(query.page - 1) * query.limit,
            )
        return Questions(
            total=total,
            page=query.page,
            limit=query.limit,
            questions=[QuestionRow.model_validate(row) for row in rows],
        )

    def topics(self) -> list[str]:
        """See `Queries`."""
        with self._read() as connection:
            return [row["topic"] for row in _all(connection, TOPICS, limit=MAX_TOPICS)]

    def export(self, query: Filter) -> Iterator[Mapping[str, Any]]:
        """See `Queries`."""
        with self._read() as connection:
            # A cursor of the server's: the rows are never in memory all at once.
            rows = connection.execution_options(stream_results=True, yield_per=500).execute(
                EXPORTED[query.sort], _parameters(query)
            )
            for row in rows.mappings():
                yield dict(row)

    def question(self, question_id: str) -> QuestionDetail | None:
        """See `Queries`."""
        with self._read() as connection:
            known = _all(connection, DETAIL, question_id=question_id)
            if not known:
                return None
            answer, failure, attempts, errors, usage = (
                _all(connection, query, question_id=question_id)
                for query in (DETAIL_ANSWER, DETAIL_FAILURE, DETAIL_ATTEMPTS, DETAIL_ERRORS, DETAIL_USAGE)
            )
        return QuestionDetail(
            **known[0],
            answer=KeptAnswer.model_validate(answer[0]) if answer else None,
            failure=Failure.model_validate(failure[0]) if failure else None,
            attempts=[Attempt.model_validate(row) for row in attempts],
            errors=[CallError.model_validate(row) for row in errors],
            usage=Usage.model_validate(usage[0]) if usage else None,
        )

    def recent(self) -> tuple[int, int]:
        """See `Queries`."""
        with self._read() as connection:
            row = _one(connection, RECENT)
        return row["scored"], row["below"]

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with postgres.transaction(self._pool) as connection:
            connection.execute(_BEGIN)
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


def what_if(threshold: float, max_attempts: int, rows: list[dict[str, Any]]) -> WhatIf:
    """Sums the groups of `WHAT_IF` up. Pure.

    Args:
        threshold: The one that was tried.
        max_attempts: Attempts that a question gets at most.
        rows: Groups of questions with the same `passed_at`, `unknown` and `made`.
    """
    passed = [0] * max_attempts
    exhausted = unknown = calls_min = calls_max = questions = 0
    scores = Decimal(0)
    for row in rows:
        count = row["questions"]
        questions += count
        scores += row["scores"]
        if row["passed_at"] is not None:
            passed[row["passed_at"] - 1] += count
            calls_min += count * row["passed_at"]
            calls_max += count * row["passed_at"]
        elif row["unknown"]:
            unknown += count
            calls_min += count * (row["made"] + 1)
            calls_max += count * max_attempts
        else:
            exhausted += count
            calls_min += count * max_attempts
            calls_max += count * max_attempts
    return WhatIf(
        threshold=threshold,
        questions=questions,
        passed=passed,
        exhausted=exhausted,
        unknown=unknown,
        calls_min=calls_min,
        calls_max=calls_max,
        mean_score=float(scores / questions) if questions else None,
    )


def _since(hours: int | None) -> datetime:
    """Returns the start of the last `hours`; without any, a time before all answers."""
    return datetime.now(UTC) - timedelta(hours=hours) if hours else datetime(1970, 1, 1, tzinfo=UTC)


def _parameters(query: Filter) -> dict[str, Any]:
    escaped = query.text.strip().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return {
        "text": query.text.strip(),
        "pattern": f"%{escaped}%",
        **query.model_dump(include={"status", "quality", "score_min", "score_max", "attempts", "topic"}),
    }


def _one(connection: Connection, query: TextClause, **parameters: Any) -> dict[str, Any]:
    row: RowMapping = connection.execute(query, parameters).mappings().one()
    return dict(row)


def _all(connection: Connection, query: TextClause, **parameters: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query, parameters).mappings()]
