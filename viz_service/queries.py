"""Reads the database: one method for each chart, SQL in, typed rows out.

`Queries` is the interface that the routes use; `PostgresQueries` implements it. Each method except `export` is one
read-only transaction with one snapshot, so that the numbers of a reply are consistent while answers arrive.

Statistics of all answers come from counts that the database keeps (`counts.py`), not from reading all rows: the time of
a reply does not grow with the number of questions.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, get_args

from sqlalchemy import Connection, Engine, RowMapping, TextClause, text

from pipeline import postgres
from pipeline.messages import Quality
from pipeline.question import ID_DIGITS
from viz_service import buckets, counts
from viz_service.confidence import mean_interval
from viz_service.counts import REFERENCE, Count, Counts
from viz_service.schemas import (
    PREVIEW_CHARACTERS,
    AnswerCounts,
    Attempt,
    AttemptScore,
    AttemptShare,
    DeadLetter,
    DeadLetters,
    DeadLettersQuery,
    ErrorRecord,
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
    end_of_page,
)

# Scores against a reference. Scores of self-checks are on another scale.
_REFERENCE = "quality IN ('accepted', 'max_retries_reached')"

# A time window begins at a whole minute, here and in the rows that are read in addition to the counts.
COUNTED = text("""
    SELECT kind, label, attempts, bin, n, sum_1, sum_2
    FROM dashboard_counted(CAST(:since AS timestamptz), CAST(:kinds AS text[]))
""")

# The value at a rank: the counts give its bin and the number of values of the bin before it.
SCORE_AT = text(f"""
    SELECT bert_score FROM responses
    WHERE bert_score IS NOT NULL AND {_REFERENCE} AND bert_score >= :low AND bert_score < :high
          AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    ORDER BY bert_score
    OFFSET :offset LIMIT 1
""")
TIME_AT = text("""
    SELECT total_processing_time_ms FROM responses
    WHERE total_processing_time_ms >= :low AND total_processing_time_ms < :high
          AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    ORDER BY total_processing_time_ms
    OFFSET :offset LIMIT 1
""")

TIME_SPAN = text(f"""
    SELECT now() AS until, (
        SELECT created_at FROM responses
        WHERE created_at >= coalesce(CAST(:since AS timestamptz), '-infinity') AND created_at <= now()
              AND bert_score IS NOT NULL AND {_REFERENCE}
        ORDER BY created_at LIMIT 1
    ) AS first
""")

# The origin is a full hour, so that buckets begin at round times. Minutes are kept for the longest window, hours
# permanently.
TIME_POINTS = text("""
    SELECT
        date_bin(:width, period, timestamptz '2000-01-01 00:00:00+00') AS start,
        sum(sum_1) / sum(n)                                            AS mean_score,
        sum(n)                                                         AS count
    FROM (
        SELECT period, n, sum_1, kind, label, bin FROM dashboard_counts
        WHERE level = :level AND period >= date_trunc(:level, CAST(:since AS timestamptz))
        UNION ALL
        SELECT date_trunc(:level, minute), n, sum_1, kind, label, bin FROM dashboard_changes
        WHERE minute >= date_trunc(:level, CAST(:since AS timestamptz))
    ) AS counted
    WHERE kind = 'answers' AND bin = 1 AND label = ANY(:labels) AND period <= now()
    GROUP BY start
    HAVING sum(n) > 0
    ORDER BY start
""")

# For a threshold with more than two decimals.
SCORE_BINS = text(f"""
    SELECT floor((bert_score - :threshold) * :bins_per_unit)::integer AS bin, count(*) AS count
    FROM responses
    WHERE bert_score IS NOT NULL AND {_REFERENCE}
          AND created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
    GROUP BY bin
""")

_QUESTION = """
    SELECT
        questions.question_id,
        left(questions.question_text, 500)  AS question_text,
        questions.times_asked,
        questions.status,
        responses.quality,
        responses.rejected_by,
        responses.bert_score,
        responses.processing_attempts,
        left(responses.llm_response, 500)   AS llm_response,
        questions.asked_at
"""

# The inner queries scan an index and stop after `limit` rows; only these are joined.
MOST_ASKED = text(f"""
    {_QUESTION}
    FROM (
        SELECT * FROM questions ORDER BY times_asked DESC, asked_at DESC, question_id LIMIT :limit
    ) AS questions
    LEFT JOIN responses USING (question_id)
    ORDER BY times_asked DESC, asked_at DESC, question_id
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
# Rows beyond the end of the last page, in the lists that are in order of time.
_BEYOND = {
    "newest": "(asked_at < :after_at OR asked_at = :after_at AND question_id > :after_id)",
    "oldest": "(asked_at > :after_at OR asked_at = :after_at AND question_id < :after_id)",
}
_SELF_CHECKED = "quality NOT IN ('accepted', 'max_retries_reached')"

# Each order consists of consecutive parts, each in the order of an index: a page reads the rows before it and its own,
# not all. Scores against a reference come before those of self-checks; rows without score or time come last.
_UNSCORED = ("bert_score IS NULL", "question_id")
_ORDERS: dict[str, tuple[tuple[str, str], ...]] = {
    "newest": (("true", "asked_at DESC, question_id"),),
    "oldest": (("true", "asked_at, question_id DESC"),),
    "most-asked": (("true", "times_asked DESC, asked_at DESC, question_id"),),
    "best": (
        (f"bert_score IS NOT NULL AND {_REFERENCE}", "bert_score DESC, question_id"),
        (f"bert_score IS NOT NULL AND {_SELF_CHECKED}", "bert_score DESC, question_id"),
        _UNSCORED,
    ),
    "worst": (
        (f"bert_score IS NOT NULL AND {_REFERENCE}", "bert_score, question_id"),
        (f"bert_score IS NOT NULL AND {_SELF_CHECKED}", "bert_score, question_id"),
        _UNSCORED,
    ),
    "slowest": (
        ("total_processing_time_ms IS NOT NULL", "total_processing_time_ms DESC, question_id"),
        ("total_processing_time_ms IS NULL", "question_id"),
    ),
}
COUNTED_ROWS = 10_000
"""Limit of counting a filter's questions. Up to it they are sorted; above it, an index is scanned for each page."""

COUNT_MATCHING = text(f"SELECT count(*) AS total FROM (SELECT {_MATCHING} LIMIT :most) AS matching")


def _listed(sort: str, part: int, few: bool, after: bool) -> TextClause:
    """Returns the statement that lists ids of one part of an order, from an offset.

    Args:
        sort: Name of the order.
        part: Index of the part.
        few: Whether few questions match the filter: they are found first, by the filter's index.
        after: Whether to list only rows beyond the end of the last page.
    """
    where, order = _ORDERS[sort][part]
    beyond = f"AND {_BEYOND[sort]}" if after else ""
    found = f"""
        SELECT question_id, asked_at, times_asked, bert_score, quality, total_processing_time_ms {_MATCHING}
    """
    if few:
        listed = f"WITH found AS MATERIALIZED ({found}) SELECT question_id FROM found WHERE {where} {beyond}"
    else:
        listed = f"SELECT question_id {_MATCHING} AND {where} {beyond}"
    return text(f"{listed} ORDER BY {order} OFFSET :offset LIMIT :limit")


LISTED = {
    (sort, part, few, after): _listed(sort, part, few, after)
    for sort, parts in _ORDERS.items()
    for part in range(len(parts))
    for few in (False, True)
    for after in ((False, True) if sort in _BEYOND else (False,))
}
ROWS = text("""
    SELECT question_id, left(questions.question_text, 300) AS question_text, topic, status, quality, rejected_by,
           bert_score, processing_attempts, total_processing_time_ms, times_asked, asked_at
    FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS listed (question_id, number)
    JOIN questions USING (question_id)
    LEFT JOIN responses USING (question_id)
    ORDER BY number
""")


def _combined_order(parts: tuple[tuple[str, str], ...]) -> str:
    """Returns one ORDER BY for all parts: by part, then by the order within the parts."""
    by_part = (f"({where}) IS NOT TRUE" for where, _ in parts[:-1])
    return ", ".join([*by_part, *dict.fromkeys(order for _, order in parts)])


EXPORTED_IDS = {
    sort: text(f"SELECT question_id {_MATCHING} ORDER BY {_combined_order(parts)}") for sort, parts in _ORDERS.items()
}
EXPORTED = text("""
    SELECT question_id, questions.question_text, question_context, questions.original_answer, topic, status,
           times_asked, asked_at, llm_response, quality, bert_score, bert_precision, bert_recall, processing_attempts,
           total_processing_time_ms, model, scorer, created_at AS completed_at,
           further_references AS "references", reference_index, unscored_reason, warnings,
           judge_probability, judge_problem, judge_model, rejected_by
    FROM unnest(CAST(:ids AS text[])) WITH ORDINALITY AS listed (question_id, number)
    JOIN questions USING (question_id)
    LEFT JOIN responses USING (question_id)
    ORDER BY number
""")
ID_BYTES = ID_DIGITS // 2
MAX_EXPORTED = 2_000_000
"""Limit of questions in an export. Their ids are kept in memory during the export, in `ID_BYTES` each."""
EXPORTED_AT_ONCE = 500

# Jumps from one topic to the next in the index: the time grows with the number of topics, not of questions.
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
"""Limit of listed topics, because users may invent any number. The others can be found by `?topic=`."""

PREVIEW_BYTES = 4 * PREVIEW_CHARACTERS
"""A character takes at most 4 bytes in UTF-8."""
COUNT_LETTERS = text("SELECT count(*) AS total FROM (SELECT FROM dead_letters LIMIT :most) AS letters")


def _letters(after: bool) -> TextClause:
    """Returns the statement that lists dead letters, from an offset.

    Args:
        after: Whether to list only rows beyond the end of the last page.
    """
    return text(f"""
        SELECT listed.id, listed.topic, partition, topic_offset AS "offset", source_topic, source_partition,
               source_offset, reason, error, value_bytes, octet_length(value) AS kept_bytes,
               substring(value FOR {PREVIEW_BYTES}) AS preview, listed.question_id,
               left(questions.question_text, 120) AS question_text, failed_at, received_at, replayed_at
        FROM (
            SELECT * FROM dead_letters {"WHERE (received_at, id) < (:after_at, :after_id)" if after else ""}
            ORDER BY received_at DESC, id DESC OFFSET :offset LIMIT :limit
        ) AS listed
        LEFT JOIN questions ON questions.question_id = listed.question_id
        ORDER BY received_at DESC, listed.id DESC
    """)


LETTERS = {after: _letters(after) for after in (False, True)}

DETAIL = text("""
    SELECT question_id, question_text, question_context, original_answer, topic, status, times_asked, asked_at,
           published_at,
           further_references AS "references"
    FROM questions
    WHERE question_id = :question_id
""")
DETAIL_ANSWER = text("""
    SELECT llm_response, bert_score, bert_precision, bert_recall, quality, scorer, model, processing_attempts,
           total_processing_time_ms, created_at,
           reference_index, unscored_reason, warnings, rejected_by,
           CASE WHEN judge_model IS NOT NULL THEN json_build_object(
               'probability', judge_probability, 'problem', judge_problem, 'model', judge_model
           ) END AS judge
    FROM responses
    WHERE question_id = :question_id
""")
DETAIL_FAILURE = text("""
    SELECT reason, retry_count, last_error, failed_at FROM failed_questions WHERE question_id = :question_id
""")
DETAIL_ATTEMPTS = text("""
    SELECT attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens,
           reasoning_tokens, cost, generated_at,
           CASE WHEN judge_model IS NOT NULL THEN json_build_object(
               'probability', judge_probability, 'problem', judge_problem, 'model', judge_model,
               'prompt_tokens', judge_prompt_tokens, 'completion_tokens', judge_completion_tokens,
               'cost', judge_cost::text
           ) END AS judge
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

# One core per query: the expensive queries group by question, and parallel workers make that slower (100,000 attempts
# with prices, two busy cores: 345 and 474 ms with them, 170 and 113 ms without).
_BEGIN = text("""
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
    SET LOCAL max_parallel_workers_per_gather = 0
""")

# Naming the view checks that the schema exists, not only that the server answers.
READY = text("SELECT EXISTS (SELECT FROM regeneration_analysis)")


class TooManyQuestions(Exception):
    """An export has too many questions."""


class Queries(Protocol):
    """The interface for the routes. Each method raises `Unavailable` if the database is unavailable."""

    def check(self) -> None:
        """Raises if the database or its schema is unavailable."""

    def statistics(self, hours: int | None = None) -> Statistics:
        """Returns the key figures; those about answers cover only the last `hours`."""

    def timeseries(self, hours: int | None) -> Timeseries:
        """Returns mean scores over the last `hours`."""

    def histogram(self, hours: int | None = None) -> Histogram:
        """Returns kept answers by score."""

    def improvement(self, hours: int | None = None) -> Improvement:
        """Returns scores by attempts, and compares first and kept answers of the same questions."""

    def top(self, limit: int) -> TopQuestions:
        """Returns the `limit` most asked, best and worst questions."""

    def what_if(self, threshold: float) -> WhatIf:
        """Returns the effect that a threshold would have on the stored attempts."""

    def questions(self, query: QuestionsQuery) -> Questions:
        """Returns a page of the questions that match a filter."""

    def topics(self) -> list[str]:
        """Returns the first `MAX_TOPICS` topics of questions, in order."""

    def dead_letters(self, query: DeadLettersQuery) -> DeadLetters:
        """Returns a page of the dead letters, the newest first."""

    def export(self, query: Filter) -> Iterator[Mapping[str, Any]]:
        """Yields the questions that match a filter, row by row.

        The selection and its order come from one snapshot at the start. Each row is read later, in its current state;
        questions that were deleted in between are left out. No connection is held between two blocks of rows, so that a
        slow reader does not occupy the database.

        Raises:
            TooManyQuestions: More than `MAX_EXPORTED` questions match.
        """

    def question(self, question_id: str) -> QuestionDetail | None:
        """Returns the details of a question; None if it is unknown."""

    def recent(self) -> tuple[int, int]:
        """Returns the number of scored answers of the last hour, and of those that were kept below the threshold."""


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
            now = connection.execute(text("SELECT now()")).scalar_one()
            questions = _counted(connection, None, "questions")
            counted = _counted(connection, since, "answers", "score", "time", "calls", "cost", "priced", "rejected")
            scores, times = counted.bins("score", REFERENCE), counted.bins("time")
            lowest, median, highest = (_score(connection, since, scores, share) for share in (0, 0.5, 1))
            p50, p95 = (_time(connection, since, times, share) for share in (0.5, 0.95))
        by_quality = {quality: counted.total("answers", {quality}).n for quality in get_args(Quality)}
        scored = counted.total("answers", REFERENCE, bins={1})
        total, accepted = counted.total("answers").n, by_quality["accepted"]
        attempts = {each: counted.total("answers", attempts={each}).n for each in counted.attempts()}
        calls = sum(each * answers for each, answers in attempts.items())
        tokens = counted.total("calls")
        return Statistics(
            generated_at=now,
            threshold=self._threshold,
            questions=QuestionCounts(
                asked=questions.total("questions").sum_1,
                total=questions.total("questions").n,
                **{status: questions.total("questions", {status}).n for status in ("pending", "completed", "failed")},
            ),
            answers=AnswerCounts(**by_quality, total=total, rejected_by_judge=counted.total("rejected").n),
            scores=ScoreSummary(
                count=scored.n,
                mean=scored.mean,
                median=median,
                deviation=scored.deviation,
                min=lowest,
                max=highest,
            ),
            attempts=[
                AttemptShare(
                    attempts=each,
                    answers=answers,
                    accepted=counted.total("answers", {"accepted"}, {each}).n,
                    share=answers / total,
                )
                for each, answers in attempts.items()
            ],
            llm=LlmUse(
                calls=calls,
                calls_per_accepted=calls / accepted if accepted else None,
                overhead_percent=(calls - total) / total * 100 if total else None,
                prompt_tokens=tokens.sum_1,
                completion_tokens=tokens.sum_2,
                tokens_per_accepted=(tokens.sum_1 + tokens.sum_2) / accepted if accepted else None,
                **counts.costs(counted),
            ),
            total_processing_time_ms=ProcessingTime(p50=p50, p95=p95),
        )

    def timeseries(self, hours: int | None) -> Timeseries:
        """See `Queries`."""
        start = _since(hours)
        with self._read() as connection:
            span = _one(connection, TIME_SPAN, since=start)
            # Starts at the first answer: a fleet that is ten minutes old gets ten points, not two.
            since = span["first"] or start or span["until"]
            width = buckets.time_bucket((span["until"] - since).total_seconds())
            points = _all(
                connection,
                TIME_POINTS,
                since=since,
                width=timedelta(seconds=width),
                level="minute" if width < 3600 else "hour",
                labels=sorted(REFERENCE),
            )
        return Timeseries(
            since=since,
            until=span["until"],
            hours=hours,
            bucket_seconds=width,
            points=[Point.model_validate(row) for row in points],
        )

    def histogram(self, hours: int | None = None) -> Histogram:
        """See `Queries`."""
        threshold = Decimal(str(self._threshold))
        with self._read() as connection:
            scores = _counted(connection, _since(hours), "score").bins("score", REFERENCE)
            bins = counts.threshold_bins(scores, threshold, buckets.BINS_PER_UNIT)
            if bins is None:
                unit = buckets.BINS_PER_UNIT
                rows = _all(connection, SCORE_BINS, threshold=threshold, bins_per_unit=unit, since=_since(hours))
                return buckets.histogram(self._threshold, {row["bin"]: row["count"] for row in rows})
        return buckets.histogram(self._threshold, bins)

    def improvement(self, hours: int | None = None) -> Improvement:
        """See `Queries`."""
        with self._read() as connection:
            counted = _counted(connection, _since(hours), "answers", "first", "gain")
        by_attempts = []
        for attempts in counted.attempts():
            kept = counted.total("answers", REFERENCE, {attempts}, {1})
            if kept.mean is not None:
                first = counted.total("first", REFERENCE, {attempts})
                by_attempts.append(
                    AttemptScore(
                        attempts=attempts, count=kept.n, mean_score=float(kept.mean), mean_first_score=first.mean
                    )
                )
        again = [each for each in counted.attempts() if each > 1]
        return Improvement(by_attempts=by_attempts, regenerated=regeneration(counts.pairs(counted, again)))

    def top(self, limit: int) -> TopQuestions:
        """See `Queries`."""
        with self._read() as connection:
            most_asked, best, worst = (_all(connection, query, limit=limit) for query in (MOST_ASKED, BEST, WORST))
        return TopQuestions.model_validate({"most_asked": most_asked, "best": best, "worst": worst})

    def what_if(self, threshold: float) -> WhatIf:
        """See `Queries`."""
        tried = round(threshold * counts.SCORE_BINS)
        with self._read() as connection:
            counted = _counted(connection, None, "prefix")
        groups = counts.what_if_groups(counted, tried, self._max_attempts)
        return what_if(tried / counts.SCORE_BINS, self._max_attempts, groups)

    def questions(self, query: QuestionsQuery) -> Questions:
        """See `Queries`."""
        wanted = _parameters(query)
        with self._read() as connection:
            unfiltered = all(value in (None, "", "%%") for value in wanted.values())
            if unfiltered:
                total = _counted(connection, None, "questions").total("questions").n
            else:
                total = _one(connection, COUNT_MATCHING, most=COUNTED_ROWS + 1, **wanted)["total"]
            few = not unfiltered and total <= COUNTED_ROWS
            # One row more than shown tells whether there is a next page.
            ids = self._listed(connection, query, wanted, few)
            rows = [QuestionRow.model_validate(row) for row in _all(connection, ROWS, ids=ids[: query.limit])]
        more = len(ids) > query.limit
        return Questions(
            total=total if unfiltered else min(total, COUNTED_ROWS),
            total_is_minimum=not unfiltered and not few,
            page=query.page,
            limit=query.limit,
            next=after(rows[-1]) if more and rows and query.sort in _BEYOND else None,
            has_next=more,
            questions=rows,
        )

    def _listed(self, connection: Connection, query: QuestionsQuery, wanted: dict[str, Any], few: bool) -> list[str]:
        """Returns the ids of a page and of the next row, if any."""
        if query.after:
            at, question_id = end_of_page(query.after)
            wanted = wanted | {"after_at": at, "after_id": question_id}
        first = 0 if query.after else (query.page - 1) * query.limit
        parts = list(range(len(_ORDERS[query.sort])))
        if query.status in ("pending", "failed"):
            parts = parts[-1:]  # these have no answer: scanning questions with an answer would be slow and find nothing
        ids: list[str] = []
        for part in parts:
            # The offset spans all parts; the size of a part is known only after it was read to its end.
            statement = LISTED[query.sort, part, few, bool(query.after)]
            limit = first + query.limit + 1 - len(ids)
            ids += connection.execute(statement, wanted | {"offset": 0, "limit": limit}).scalars()
            if len(ids) > first + query.limit:
                break
        return ids[first:]

    def topics(self) -> list[str]:
        """See `Queries`."""
        with self._read() as connection:
            return [row["topic"] for row in _all(connection, TOPICS, limit=MAX_TOPICS)]

    def dead_letters(self, query: DeadLettersQuery) -> DeadLetters:
        """See `Queries`."""
        wanted: dict[str, Any] = {"offset": 0 if query.after else (query.page - 1) * query.limit}
        if query.after:
            at, letter_id = end_of_page(query.after)
            wanted |= {"after_at": at, "after_id": int(letter_id)}
        with self._read() as connection:
            total = _one(connection, COUNT_LETTERS, most=COUNTED_ROWS + 1)["total"]
            # One row more than shown tells whether there is a next page.
            found = _all(connection, LETTERS[bool(query.after)], limit=query.limit + 1, **wanted)
        letters = [
            DeadLetter.model_validate(row | {"preview": preview(row["preview"])}) for row in found[: query.limit]
        ]
        more = len(found) > query.limit
        return DeadLetters(
            total=min(total, COUNTED_ROWS),
            total_is_minimum=total > COUNTED_ROWS,
            page=query.page,
            limit=query.limit,
            next=f"{letters[-1].received_at.isoformat()}~{letters[-1].id}" if more else None,
            has_next=more,
            dead_letters=letters,
        )

    def export(self, query: Filter) -> Iterator[Mapping[str, Any]]:
        """See `Queries`."""
        ids = self._exported_ids(query)
        for start in range(0, len(ids), ID_BYTES * EXPORTED_AT_ONCE):
            block = ids[start : start + ID_BYTES * EXPORTED_AT_ONCE]
            wanted = [block[each : each + ID_BYTES].hex() for each in range(0, len(block), ID_BYTES)]
            with self._read() as connection:
                rows = _all(connection, EXPORTED, ids=wanted)
            yield from rows

    def _exported_ids(self, query: Filter) -> bytearray:
        """Returns the concatenated ids of an export, in order."""
        ids = bytearray()
        with self._read() as connection:
            # A server-side cursor: the ids are never all in memory as texts.
            found = connection.execution_options(stream_results=True, yield_per=10_000).execute(
                EXPORTED_IDS[query.sort], _parameters(query)
            )
            for question_id in found.scalars():
                if len(ids) == ID_BYTES * MAX_EXPORTED:
                    raise TooManyQuestions(f"More than {MAX_EXPORTED:,} questions: narrow the filter.")
                ids += bytes.fromhex(question_id)
        return ids

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
            errors=[ErrorRecord.model_validate(row) for row in errors],
            usage=Usage.model_validate(usage[0]) if usage else None,
        )

    def recent(self) -> tuple[int, int]:
        """See `Queries`."""
        with self._read() as connection:
            counted = _counted(connection, _since(1), "answers")
        return counted.total("answers", REFERENCE, bins={1}).n, counted.total("answers", {"max_retries_reached"}).n

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with postgres.transaction(self._pool) as connection:
            connection.execute(_BEGIN)
            yield connection


def regeneration(pairs: dict[str, Any]) -> Regeneration:
    """Adds the confidence interval and the relative gain to the result of `counts.pairs`. Pure."""
    gain, first, deviation = pairs["mean_gain"], pairs["mean_first_score"], pairs["deviation"]
    interval = None
    if gain is not None and deviation is not None:
        interval = mean_interval(float(gain), float(deviation), pairs["count"])
    return Regeneration(
        gain_interval=Interval(low=interval[0], high=interval[1]) if interval else None,
        # BERTScores may be zero or negative; a ratio to them is meaningless.
        relative_gain_percent=float(gain / first * 100) if first is not None and first > 0 else None,
        **{name: pairs[name] for name in ("count", "improved", "mean_first_score", "mean_kept_score", "mean_gain")},
    )


def what_if(threshold: float, max_attempts: int, rows: list[dict[str, Any]]) -> WhatIf:
    """Sums up the groups of `counts.what_if_groups`. Pure.

    Args:
        threshold: The threshold of the what-if.
        max_attempts: Limit of attempts of a question.
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


def preview(value: bytes | memoryview | None) -> str | None:
    """Returns the start of a message as text, from its first `PREVIEW_BYTES`; invalid UTF-8 is replaced."""
    return None if value is None else bytes(value).decode(errors="replace")[:PREVIEW_CHARACTERS]


def after(row: QuestionRow) -> str:
    """Returns the value of `QuestionsQuery.after` with which a list in order of time continues after a row."""
    return f"{row.asked_at.isoformat()}~{row.question_id}"


def _since(hours: int | None) -> datetime | None:
    """Returns the start of the last `hours`, at a whole minute; None without a limit."""
    return (datetime.now(UTC) - timedelta(hours=hours)).replace(second=0, microsecond=0) if hours else None


def _counted(connection: Connection, since: datetime | None, *kinds: str) -> Counts:
    rows = connection.execute(COUNTED, {"since": since, "kinds": list(kinds)}).mappings()
    return Counts(Count(**row) for row in rows)


def _score(connection: Connection, since: datetime | None, bins: Mapping[int, int], share: float) -> float | None:
    return _percentile(connection, SCORE_AT, counts.score_bounds, since, bins, share)


def _time(connection: Connection, since: datetime | None, bins: Mapping[int, int], share: float) -> float | None:
    return _percentile(connection, TIME_AT, counts.time_bounds, since, bins, share)


def _percentile(
    connection: Connection,
    query: TextClause,
    bounds: Callable[[int], tuple[Decimal | int, Decimal | int]],
    since: datetime | None,
    bins: Mapping[int, int],
    share: float,
) -> float | None:
    """Returns a percentile of values, found by their counts in bins; None if there are no values."""
    if not sum(bins.values()):
        return None
    places, second = counts.places(bins, share)
    values = []
    for place in places:
        low, high = bounds(place.bin)
        value = connection.execute(query, {"low": low, "high": high, "since": since, "offset": place.offset}).scalar()
        values.append(float(low if value is None else value))
    return values[0] + (values[-1] - values[0]) * second


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
