"""The questions in PostgreSQL."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, text

from pipeline import postgres
from pipeline.batcher import Batcher
from pipeline.cache import Answer
from pipeline.errors import Unavailable
from pipeline.messages import Question
from storage_service.correction import Candidate, Correction, Scorable, candidates
from storage_service.schemas import (
    ByQuality,
    ByStatus,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterPage,
    FailedFilter,
    FailedPage,
    FailedQuestion,
    Failure,
    State,
    Stored,
    Usage,
)

PREVIEW_BYTES = 500
"""Bytes of the key and the value of a dead letter in a list."""

_NEW = (
    "question_id",
    "question_text",
    "question_context",
    "original_answer",
    "further_references",
    "topic",
    "asked_at",
)

# The further references of a row are a JSON array, because PostgreSQL has no arrays of arrays of different lengths.
# A deleted question that is asked again gets a later asked_at than before, even if the clock was set back. This
# distinguishes its new messages from the old ones.
_INSERT = text(f"""
    INSERT INTO questions ({", ".join(_NEW)})
    SELECT question_id, question_text, question_context, original_answer,
           ARRAY(SELECT json_array_elements_text(CAST(asked.further_references AS json))), topic,
           greatest(date_trunc('milliseconds', deleted.asked_at) + interval '1 millisecond', asked.asked_at)
    FROM unnest(CAST(:question_id AS text[]), CAST(:question_text AS text[]),
                CAST(:question_context AS text[]), CAST(:original_answer AS text[]),
                CAST(:further_references AS text[]), CAST(:topic AS text[]),
                CAST(:asked_at AS timestamptz[])) AS asked ({", ".join(_NEW)})
    LEFT JOIN deleted_questions AS deleted USING (question_id)
    ORDER BY question_id
    ON CONFLICT (question_id) DO NOTHING
    RETURNING question_id, asked_at
""")

# Locks the row, so that one request at a time decides about the question.
_ASK_AGAIN = text("""
    UPDATE questions SET times_asked = times_asked + 1, topic = coalesce(topic, :topic)
    WHERE question_id = :question_id
    RETURNING status
""")

_LOCK = text("""
    SELECT question_id, question_text, question_context, original_answer, further_references, status
    FROM questions WHERE question_id = :question_id FOR UPDATE
""")

# The count is bounded, so that the query time does not grow with the number of questions.
_UNPUBLISHED = text("""
    SELECT count(*) FROM (
        SELECT FROM questions WHERE status = 'pending' AND published_at IS NULL LIMIT :limit
    ) AS unpublished
""")

# The answer stays until a new one replaces it. Attempts are deleted, because the new run has its own.
_RESTART = text("""
    WITH failure AS (DELETE FROM failed_questions WHERE question_id = :question_id),
         history AS (DELETE FROM attempts WHERE question_id = :question_id),
         errors AS (DELETE FROM call_errors WHERE question_id = :question_id)
    UPDATE questions
    SET status = 'pending',
        question_text = :question_text,
        question_context = :question_context,
        original_answer = coalesce(:original_answer, original_answer),
        further_references = CASE
            WHEN CAST(:original_answer AS text) IS NULL THEN further_references
            ELSE ARRAY(SELECT json_array_elements_text(CAST(:further_references AS json)))
        END,
        -- Always later than before, even if the clock was set back: it distinguishes the runs of a question.
        asked_at = greatest(date_trunc('milliseconds', asked_at) + interval '1 millisecond', :asked_at),
        published_at = NULL,
        best = NULL
    WHERE question_id = :question_id
    RETURNING original_answer, further_references, asked_at
""")

_FORGET = text("SELECT forget_questions(ARRAY[:question_id])")

# Waiters of the question poll it and see that it is deleted.
_NOTIFY = text(f"SELECT pg_notify('{postgres.FINAL_CHANNEL}', :question_id)")

_KEPT_ANSWER = text("""
    SELECT q.status, q.asked_at, r.llm_response, r.model
    FROM questions AS q LEFT JOIN responses AS r USING (question_id)
    WHERE q.question_id = :question_id
""")

_ATTEMPTS = text("""
    SELECT attempt, llm_response, model FROM attempts WHERE question_id = :question_id ORDER BY attempt
""")

_CORRECT_QUESTION = text("""
    UPDATE questions SET original_answer = :original_answer, further_references = CAST(:further_references AS text[])
    WHERE question_id = :question_id AND status = 'completed' AND asked_at = :asked_at
    RETURNING question_id
""")

# The judge compared with the old references. What its calls took stays.
_CORRECT_ATTEMPTS = text("""
    UPDATE attempts
    SET bert_score = scored.bert_score, judge_probability = NULL, judge_problem = NULL, judge_model = NULL
    FROM unnest(CAST(:attempts AS integer[]), CAST(:scores AS numeric[])) AS scored (attempt, bert_score)
    WHERE question_id = :question_id AND attempts.attempt = scored.attempt
""")

_CORRECT_ANSWER = text("""
    UPDATE responses
    SET (original_answer, llm_response, model, bert_score, bert_precision, bert_recall, bert_f1, quality, scorer,
         reference_index, updated_at,
         unscored_reason, warnings,
         judge_probability, judge_problem, judge_model, rejected_by)
        = (:original_answer, :llm_response, :model, :bert_score, :bert_precision, :bert_recall, :bert_f1, :quality,
           :scorer, :reference_index, now(),
           NULL, CAST(:warnings AS text[]),
           NULL, NULL, NULL, :rejected_by)
    WHERE question_id = :question_id
""")

_FIND = text("""
    SELECT q.question_id, q.status, q.question_text, q.asked_at,
           r.llm_response, r.original_answer, r.bert_score, r.bert_precision, r.bert_recall, r.bert_f1, r.quality,
           r.scorer, r.model, r.processing_attempts, r.total_processing_time_ms, r.created_at,
           r.unscored_reason, r.warnings, r.rejected_by,
           CASE WHEN r.judge_model IS NOT NULL THEN json_build_object(
               'probability', r.judge_probability, 'problem', r.judge_problem, 'model', r.judge_model
           ) END AS judge,
           r.question_text AS answered_text,
           q.further_references AS "references", r.reference_index,
           f.reason, f.last_error, f.retry_count, f.failed_at,
           u.attempts, u.prompt_tokens, u.completion_tokens, u.cost
    FROM questions AS q
    LEFT JOIN responses AS r USING (question_id)
    LEFT JOIN failed_questions AS f USING (question_id)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(attempts), 0) AS attempts, coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
               coalesce(sum(completion_tokens), 0) AS completion_tokens, sum(cost) AS cost
        FROM question_usage WHERE question_usage.question_id = q.question_id
    ) AS u
    WHERE q.question_id = :question_id
""")

# A null value disables the filter. strpos searches for the literal text; LIKE would interpret wildcards in it.
_FAILED_ROWS = """
    FROM failed_questions AS f JOIN questions AS q USING (question_id)
    WHERE (CAST(:reason AS text) IS NULL OR f.reason = :reason)
      AND (CAST(:text AS text) IS NULL OR strpos(lower(q.question_text), lower(:text)) > 0)
      AND (CAST(:since AS timestamptz) IS NULL OR f.failed_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR f.failed_at < :until)
"""

_COUNT_FAILED = text(f"SELECT count(*) {_FAILED_ROWS}")

_FAILED = text(f"""
    SELECT question_id, q.question_text, f.reason, f.last_error, f.retry_count, f.failed_at
    {_FAILED_ROWS}
    ORDER BY f.failed_at DESC, question_id
    LIMIT :limit OFFSET :offset
""")

# Both statements lock rows in the order of their ids, as storage-writer does, to prevent deadlocks.
_MARK_PUBLISHED = text("""
    UPDATE questions
    SET published_at = published.published_at
    FROM (
        SELECT question_id, mark.published_at
        FROM questions
        JOIN unnest(CAST(:ids AS text[]), CAST(:asked AS timestamptz[]), CAST(:published AS timestamptz[]))
            AS mark (question_id, asked_at, published_at) USING (question_id)
        WHERE question_id = ANY(:ids) AND questions.asked_at = mark.asked_at AND questions.published_at IS NULL
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ) AS published
    WHERE questions.question_id = published.question_id
""")

_ADD_TIMES_ASKED = text("""
    UPDATE questions
    SET times_asked = times_asked + hits.times
    FROM (
        SELECT question_id, hits.times
        FROM questions
        JOIN unnest(CAST(:ids AS text[]), CAST(:times AS integer[])) AS hits (question_id, times) USING (question_id)
        WHERE question_id = ANY(:ids)
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ) AS hits
    WHERE questions.question_id = hits.question_id
""")

# Reads the counters that triggers maintain (sql/migrations/0004_dashboard_counters.sql) instead of whole tables. The
# outbox has its own index.
_STATISTICS = text("""
    WITH counted AS (
        SELECT * FROM dashboard_counted(NULL, ARRAY['questions', 'answers', 'calls', 'cost'])
    )
    SELECT (SELECT json_object_agg(label, n) FROM counted WHERE kind = 'questions') AS questions,
           (SELECT coalesce(sum(sum_1), 0)::bigint FROM counted WHERE kind = 'questions') AS asked_total,
           (SELECT json_object_agg(label, n) FROM (
                SELECT label, sum(n) AS n FROM counted WHERE kind = 'answers' GROUP BY label) AS by_quality) AS answers,
           (SELECT sum(sum_1) / sum(n) FROM counted WHERE kind = 'answers' AND bin = 1) AS mean_score,
           (SELECT json_build_object(
                'attempts', coalesce(sum(n) FILTER (WHERE kind = 'calls' AND label = 'attempts'), 0),
                'prompt_tokens', coalesce(sum(sum_1) FILTER (WHERE kind = 'calls'), 0),
                'completion_tokens', coalesce(sum(sum_2) FILTER (WHERE kind = 'calls'), 0),
                'cost', (sum(sum_1) FILTER (WHERE kind = 'cost'))::text)
            FROM counted) AS usage,
           (SELECT count(*) FROM questions WHERE status = 'pending' AND published_at IS NULL) AS outbox
""")

# Each part reads one end of a partial index, or a small index.
_WAITING = text("""
    SELECT (SELECT extract(epoch FROM greatest(now() - asked_at, interval '0'))::float8
            FROM questions WHERE status = 'pending' ORDER BY asked_at LIMIT 1) AS oldest_pending_seconds,
           (SELECT count(*) FROM dead_letters WHERE replayed_at IS NULL) AS dead_letters
""")

_LETTER_ROWS = """
    FROM dead_letters
    WHERE (CAST(:reason AS text) IS NULL OR reason = :reason)
      AND (CAST(:replayed AS boolean) IS NULL OR (replayed_at IS NOT NULL) = :replayed)
"""

_LETTER_COLUMNS = f"""
    id, topic, partition, topic_offset, source_topic, source_partition, source_offset, reason, error,
    substring(key for {PREVIEW_BYTES}) AS key, substring(value for {PREVIEW_BYTES}) AS preview,
    value_bytes, octet_length(value) AS kept_bytes, dead_letters.question_id, failed_at, received_at, replayed_at
"""

_COUNT_LETTERS = text(f"SELECT count(*) {_LETTER_ROWS}")

_LETTERS = text(f"""
    SELECT {_LETTER_COLUMNS}
    {_LETTER_ROWS}
    ORDER BY received_at DESC, id DESC
    LIMIT :limit OFFSET :offset
""")

_LOCK_LETTER = text(f"""
    SELECT {_LETTER_COLUMNS}, key AS whole_key, value,
           (SELECT status FROM questions WHERE questions.question_id = dead_letters.question_id) AS status
    FROM dead_letters WHERE id = :id FOR UPDATE
""")

_REPLAYED = text("UPDATE dead_letters SET replayed_at = now() WHERE id = :id RETURNING replayed_at")


Row = dict[str, Any]
"""A row of the table, by column."""


@dataclass(frozen=True)
class Recorded:
    """Result of recording a question. Without both fields, the question is already pending.

    Attributes:
        answer: Answer of a completed question.
        publish: Message to publish for a new or restarted question.
    """

    answer: Answer | None = None
    publish: Question | None = None


@dataclass(frozen=True)
class Retried:
    """Result of restarting a question.

    Attributes:
        state: State of a question that was not restarted.
        publish: Message to publish for a restarted question.
    """

    state: State | None = None
    publish: Question | None = None


@dataclass(frozen=True)
class HeldLetter:
    """A dead letter that is about to be replayed.

    Attributes:
        letter: The letter, as in the API.
        key: Key of the message.
        value: The stored bytes of the message.
        question_status: Status of its question; None: no question is known.
    """

    letter: DeadLetter
    key: bytes | None
    value: bytes | None
    question_status: str | None


class Store:
    """Reads and writes questions; every method raises `Unavailable` when PostgreSQL is unavailable."""

    def __init__(self, pool: Engine) -> None:
        self._pool = pool
        self._new = Batcher(self._insert)

    def record(self, question: Question, outbox_limit: int | None = None, topic: str | None = None) -> Recorded:
        """Records that a question was asked.

        New questions at the same time share a transaction. Of equal questions at the same time, exactly one has to be
        published. A question that failed (or whose answer was deleted by hand) is restarted, with its earlier
        references unless `question` has any.

        Args:
            question: The question.
            outbox_limit: While this number of questions is unpublished, a question that would have to be published is
                refused with `Unavailable`, and nothing is recorded. None: no limit, and no check.
            topic: Subject of the question, stored unless it already has one. Messages do not contain it.
        """
        row = _row(question) | {"topic": topic}
        full = outbox_limit is not None and self._is_full(outbox_limit)
        asked_at = None if full else self._new.do(row)
        if asked_at:
            return Recorded(publish=question.model_copy(update={"asked_at": asked_at}))
        with postgres.transaction(self._pool) as connection:
            again = {"question_id": question.question_id, "topic": topic}
            status = connection.execute(_ASK_AGAIN, again).scalar_one_or_none()
            if status == "pending":
                return Recorded()
            if status == "completed":
                known = _find(connection, question.question_id)
                if known and known.result:
                    return Recorded(answer=known.result)
            if full:
                raise _no_room()
            if status:
                return Recorded(publish=_restart(connection, question))
        # The question existed, and was deleted meanwhile.
        return self.record(question, outbox_limit, topic)

    def retry(self, question_id: str, asked_at: datetime, outbox_limit: int | None = None) -> Retried | None:
        """Restarts a failed question, in one transaction; any other question is not changed.

        `times_asked` does not change. Of retries at the same time, exactly one has to publish the question.

        Args:
            question_id: Id of the question.
            asked_at: Time of the restart.
            outbox_limit: As for `record`.

        Returns:
            The result; None for an unknown question.
        """
        with postgres.transaction(self._pool) as connection:
            row = connection.execute(_LOCK, {"question_id": question_id}).mappings().first()
            if row is None:
                return None
            if row["status"] != "failed":
                return Retried(state=_find(connection, question_id))
            if _is_full(connection, outbox_limit):
                raise _no_room()
            return Retried(publish=_restart(connection, _question(row, asked_at)))

    def regenerate(
        self, question_id: str, references: Sequence[str], asked_at: datetime, outbox_limit: int | None = None
    ) -> Retried | None:
        """Restarts a completed or failed question, in one transaction; a pending question is not changed.

        Its answer stays in the table until the new one replaces it; the API shows no answer of a pending question.

        Args:
            question_id: Id of the question.
            references: New references; empty: it keeps its references.
            asked_at: Time of the restart.
            outbox_limit: As for `record`.

        Returns:
            The result; None for an unknown question.
        """
        with postgres.transaction(self._pool) as connection:
            row = connection.execute(_LOCK, {"question_id": question_id}).mappings().first()
            if row is None:
                return None
            if row["status"] == "pending":
                return Retried(state=_find(connection, question_id))
            if _is_full(connection, outbox_limit):
                raise _no_room()
            question = _question(row, asked_at)
            if references:
                changes = {"original_answer": references[0], "references": tuple(references[1:])}
                question = question.model_copy(update=changes)
            return Retried(publish=_restart(connection, question))

    def delete(self, question_id: str) -> bool:
        """Deletes a question and all its data, and prevents its messages from restoring it.

        Returns:
            Whether there were any data of the question.
        """
        with postgres.transaction(self._pool) as connection:
            deleted = connection.execute(_FORGET, {"question_id": question_id}).first() is not None
            connection.execute(_NOTIFY, {"question_id": question_id})
        return deleted

    def scorable(self, question_id: str) -> Scorable | None:
        """Returns the answers of a question, to be scored again; None for an unknown question."""
        with postgres.transaction(self._pool) as connection:
            row = connection.execute(_KEPT_ANSWER, {"question_id": question_id}).mappings().first()
            if row is None:
                return None
            attempts = [
                Candidate(**each) for each in connection.execute(_ATTEMPTS, {"question_id": question_id}).mappings()
            ]
        if row["llm_response"] is None:
            return Scorable(row["status"], row["asked_at"], [])
        kept = Candidate(attempt=None, llm_response=row["llm_response"], model=row["model"])
        return Scorable(row["status"], row["asked_at"], candidates(attempts, kept))

    def correct(self, question_id: str, asked_at: datetime, corrected: Correction) -> State | None:
        """Replaces references, scores and answer of a completed question, in one transaction.

        Args:
            question_id: Id of the question.
            asked_at: When it was asked, from `scorable`.
            corrected: The references, the scores and the best answer.

        Returns:
            The new state; None when the question was restarted or deleted since then, and nothing was changed.
        """
        which = {"question_id": question_id}
        with postgres.transaction(self._pool) as connection:
            given = which | {"original_answer": corrected.original_answer}
            changes = {"further_references": list(corrected.references), "asked_at": asked_at}
            if connection.execute(_CORRECT_QUESTION, given | changes).first() is None:
                return None
            connection.execute(_CORRECT_ANSWER, {**given, **corrected.answer()})
            scores = {number: score for number, score in corrected.scores if number is not None}
            if scores:
                connection.execute(
                    _CORRECT_ATTEMPTS, which | {"attempts": list(scores), "scores": list(scores.values())}
                )
            return _find(connection, question_id)

    def failed(self, wanted: FailedFilter) -> FailedPage:
        """Returns a page of the failed questions, newest first."""
        with postgres.transaction(self._pool) as connection:
            total = connection.execute(_COUNT_FAILED, wanted.model_dump()).scalar_one()
            rows = connection.execute(_FAILED, wanted.model_dump()).mappings().all()
        return FailedPage(total=total, failed=[FailedQuestion(**row) for row in rows])

    def find(self, question_id: str) -> State | None:
        """Returns the state of a question; None for an unknown question."""
        with postgres.transaction(self._pool) as connection:
            return _find(connection, question_id)

    def mark_published(self, marks: Mapping[tuple[str, datetime], datetime]) -> None:
        """Records when the broker acknowledged questions.

        Args:
            marks: Time of the acknowledgement by question id and `asked_at`; a question that was restarted since then
                is not changed.
        """
        with postgres.transaction(self._pool) as connection:
            connection.execute(
                _MARK_PUBLISHED,
                {
                    "ids": [question_id for question_id, _ in marks],
                    "asked": [asked_at for _, asked_at in marks],
                    "published": list(marks.values()),
                },
            )

    def add_times_asked(self, hits: Mapping[str, int]) -> None:
        """Adds to `times_asked` by question id; unknown questions are ignored."""
        with postgres.transaction(self._pool) as connection:
            connection.execute(_ADD_TIMES_ASKED, {"ids": list(hits), "times": list(hits.values())})

    def statistics(self) -> Stored:
        """Returns statistics of the database."""
        with postgres.transaction(self._pool) as connection:
            row = connection.execute(_STATISTICS).mappings().one()
            waiting = connection.execute(_WAITING).mappings().one()
        return Stored(
            questions=ByStatus(**row["questions"] or {}),
            answers=ByQuality(**row["answers"] or {}),
            asked_total=row["asked_total"],
            mean_score=row["mean_score"],
            usage=Usage(**row["usage"]),
            outbox=row["outbox"],
            **waiting,
        )

    def dead_letters(self, wanted: DeadLetterFilter) -> DeadLetterPage:
        """Returns a page of the dead letters, newest first."""
        with postgres.transaction(self._pool) as connection:
            total = connection.execute(_COUNT_LETTERS, wanted.model_dump()).scalar_one()
            rows = connection.execute(_LETTERS, wanted.model_dump()).mappings().all()
        return DeadLetterPage(total=total, dead_letters=[_letter(dict(row)) for row in rows])

    def replay(self, letter_id: int, publish: Callable[[HeldLetter], None]) -> DeadLetter | None:
        """Publishes a letter that was never replayed, and records the time, in one transaction that locks it.

        Args:
            letter_id: Id of the letter.
            publish: Publishes the letter; when it raises, the letter is not changed.

        Returns:
            The letter; None for an unknown letter.
        """
        with postgres.transaction(self._pool) as connection:
            row = connection.execute(_LOCK_LETTER, {"id": letter_id}).mappings().first()
            if row is None:
                return None
            letter = _letter(dict(row))
            if letter.replayed_at:
                return letter
            value, key = row["value"], row["whole_key"]
            publish(
                HeldLetter(
                    letter=letter,
                    key=None if key is None else bytes(key),
                    value=None if value is None else bytes(value),
                    question_status=row["status"],
                )
            )
            replayed_at = connection.execute(_REPLAYED, {"id": letter_id}).scalar_one()
            return letter.model_copy(update={"replayed_at": replayed_at})

    def ping(self) -> None:
        """Raises `Unavailable` when PostgreSQL is unavailable or has no tables yet."""
        with postgres.transaction(self._pool) as connection:
            connection.execute(text("SELECT FROM questions LIMIT 0"))

    def _insert(self, rows: Sequence[Row]) -> list[datetime | None]:
        """Inserts new questions; returns `asked_at` for each row that was new, None for others and for duplicates."""
        firsts: dict[str, Row] = {}
        for row in rows:
            firsts.setdefault(row["question_id"], row)
        # In the order of the ids, to prevent deadlocks with other transactions.
        ordered = sorted(firsts.values(), key=itemgetter("question_id"))
        with postgres.transaction(self._pool) as connection:
            columns = {name: [row[name] for row in ordered] for name in _NEW}
            inserted = {row.question_id: row.asked_at for row in connection.execute(_INSERT, columns)}
        return [inserted.get(row["question_id"]) if row is firsts[row["question_id"]] else None for row in rows]

    def _is_full(self, outbox_limit: int) -> bool:
        with postgres.transaction(self._pool) as connection:
            return _is_full(connection, outbox_limit)


def _row(question: Question) -> Row:
    names = {"question_id", "question_text", "question_context", "original_answer"}
    further = json.dumps(question.references)
    return question.model_dump(include=names) | {"further_references": further, "asked_at": question.asked_at}


def _question(row: Mapping[Any, Any], asked_at: datetime) -> Question:
    return Question(**row, references=tuple(row["further_references"]), asked_at=asked_at)


def _restart(connection: Connection, question: Question) -> Question:
    row = connection.execute(_RESTART, _row(question)).mappings().one()
    changes = {
        "original_answer": row["original_answer"],
        "references": tuple(row["further_references"]),
        "asked_at": row["asked_at"],
    }
    return question.model_copy(update=changes)


def _is_full(connection: Connection, outbox_limit: int | None) -> bool:
    if outbox_limit is None:
        return False
    unpublished: int = connection.execute(_UNPUBLISHED, {"limit": outbox_limit}).scalar_one()
    return unpublished >= outbox_limit


def _no_room() -> Unavailable:
    return Unavailable("Kafka is unavailable, and the outbox is full (OUTBOX_LIMIT).")


def _find(connection: Connection, question_id: str) -> State | None:
    row = connection.execute(_FIND, {"question_id": question_id}).mappings().first()
    return _state(dict(row)) if row else None


def _state(row: Mapping[str, Any]) -> State:
    return State(
        question_id=row["question_id"],
        status=row["status"],
        question_text=row["question_text"],
        asked_at=row["asked_at"],
        result=_answer(row) if row["status"] == "completed" and row["llm_response"] is not None else None,
        error=Failure(**{name: row[name] for name in Failure.model_fields}) if row["reason"] else None,
        usage=Usage(**{name: row[name] for name in Usage.model_fields}),
    )


def _letter(row: Mapping[str, Any]) -> DeadLetter:
    def as_text(value: memoryview | None) -> str | None:
        return None if value is None else bytes(value).decode(errors="replace")

    shown = {name: row[name] for name in DeadLetter.model_fields if name in row}
    return DeadLetter(
        **shown | {"offset": row["topic_offset"], "key": as_text(row["key"]), "preview": as_text(row["preview"])}
    )


def _answer(row: Mapping[str, Any]) -> Answer:
    return Answer(
        **{name: row[name] for name in Answer.model_fields if name not in ("question_text", "created_at")},
        question_text=row["answered_text"],
        # In UTC, as in the cache, for any time zone of the server.
        created_at=row["created_at"].astimezone(UTC),
    )
