"""Statements of storage-writer in PostgreSQL.

A question leaves `pending` once: `completed` and `failed` do not change in this module, so repeated messages have no
effect. Messages of an earlier run of a question, or of a deleted question, have no effect either; they are recognised
by their earlier `asked_at`. Questions at the same time share a statement and a transaction. A change of state is one
statement, and its last part notifies the waiters of the question.
"""

import base64
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy import Connection, Engine, RowMapping, TextClause, text
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from pipeline import postgres
from pipeline.batcher import Batcher
from pipeline.cache import Answer
from pipeline.errors import Unavailable
from pipeline.messages import DeadLetter, InvalidMessage, Question, Reason, RecordPosition
from storage_writer import history
from storage_writer.sweep import Candidate

log = structlog.get_logger()

# Each statement gets rows, one for each question; unused columns are null. It finds the questions by their ids, whose
# number the planner knows, and locks them in the order of the ids, like all statements that lock several questions, to
# prevent deadlocks.
_GIVEN = """
    given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS given (
            question_id text, question_text text, question_context text, original_answer text, asked_at timestamptz,
            further_references text[],
            attempts json, errors json, best json,
            llm_response text, bert_score numeric, bert_precision numeric, bert_recall numeric, bert_f1 numeric,
            quality text, scorer text, model text, processing_attempts integer, total_processing_time_ms bigint,
            created_at timestamptz,
            reference_index smallint,
            unscored_reason text, warnings text[], judge json, rejected_by text,
            not_before timestamptz, reason text, retry_count integer, last_error text, failed_at timestamptz
        )
    )
"""

# Two parts of a statement that write the history of the questions in `final`. Existing rows are replaced, because the
# answer of a final message was chosen from the history in that message.
# A field that is missing in messages of an older version is null; it gets the value that all of them implied.
# The judgement of an attempt is an object in messages, and the columns judge_* in the table.
_HISTORY = """
    scored AS (
        INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens,
                              completion_tokens, reasoning_tokens, cost, generated_at,
                              judge_probability, judge_problem, judge_model, judge_prompt_tokens,
                              judge_completion_tokens, judge_cost)
        SELECT question_id, attempt, scored.model, scored.llm_response, scored.bert_score, llm_latency_ms,
               prompt_tokens, completion_tokens, coalesce(reasoning_tokens, 0), cost, generated_at,
               (judgement ->> 'probability')::real, judgement ->> 'problem', judgement ->> 'model',
               coalesce((judgement ->> 'prompt_tokens')::integer, 0),
               coalesce((judgement ->> 'completion_tokens')::integer, 0), (judgement ->> 'cost')::numeric
        FROM final JOIN given USING (question_id) CROSS JOIN json_to_recordset(given.attempts)
            AS scored (attempt integer, model text, llm_response text, bert_score numeric, llm_latency_ms integer,
                       prompt_tokens integer, completion_tokens integer, reasoning_tokens integer, cost numeric,
                       generated_at timestamptz, judgement json)
        ON CONFLICT (question_id, attempt) DO UPDATE
        SET (model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens, reasoning_tokens, cost,
             generated_at,
             judge_probability, judge_problem, judge_model, judge_prompt_tokens, judge_completion_tokens, judge_cost)
            = (excluded.model, excluded.llm_response, excluded.bert_score, excluded.llm_latency_ms,
               excluded.prompt_tokens, excluded.completion_tokens, excluded.reasoning_tokens, excluded.cost,
               excluded.generated_at,
               excluded.judge_probability, excluded.judge_problem, excluded.judge_model, excluded.judge_prompt_tokens,
               excluded.judge_completion_tokens, excluded.judge_cost)
    ), erred AS (
        INSERT INTO call_errors (question_id, attempt, retry, type, cause, status_code, message, counts_as_retry, times,
                                 prompt_tokens, completion_tokens, cost, failed_at, due_at)
        SELECT question_id, attempt, retry, type, coalesce(cause, 'other'), status_code, message,
               coalesce(counts_as_retry, true), coalesce(times, 1), prompt_tokens, completion_tokens, cost,
               erred.failed_at, due_at
        FROM final JOIN given USING (question_id) CROSS JOIN json_to_recordset(given.errors)
            AS erred (attempt integer, retry integer, type text, cause text, status_code integer, message text,
                      counts_as_retry boolean, times integer, prompt_tokens integer, completion_tokens integer,
                      cost numeric, failed_at timestamptz, due_at timestamptz)
        ON CONFLICT (question_id, attempt, retry) DO UPDATE
        SET (type, cause, status_code, message, counts_as_retry, times, prompt_tokens, completion_tokens, cost,
             failed_at, due_at)
            = (excluded.type, excluded.cause, excluded.status_code, excluded.message, excluded.counts_as_retry,
               excluded.times, excluded.prompt_tokens, excluded.completion_tokens, excluded.cost, excluded.failed_at,
               excluded.due_at)
    )
"""

_NOTIFY = f"SELECT question_id, pg_notify('{postgres.FINAL_CHANNEL}', question_id) FROM final"

# An answer of an earlier run is ignored, because the question was restarted since then. Times in messages have
# milliseconds, times in rows written by hand microseconds. `responses` may contain the answer of the run before.
_COMPLETE = text(f"""
    WITH {_GIVEN}, pending AS (
        SELECT question_id
        FROM questions JOIN given USING (question_id)
        WHERE question_id = ANY(:ids) AND status = 'pending'
              AND date_trunc('milliseconds', questions.asked_at) <= given.asked_at
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ), final AS (
        UPDATE questions SET status = 'completed', best = NULL
        FROM pending WHERE questions.question_id = pending.question_id
        RETURNING questions.question_id
    ), kept AS (
        INSERT INTO responses (question_id, question_text, original_answer, llm_response, bert_score, bert_precision,
                               bert_recall, bert_f1, reference_index, quality, scorer, model, processing_attempts,
                               total_processing_time_ms, created_at, updated_at,
                               unscored_reason, warnings,
                               judge_probability, judge_problem, judge_model, rejected_by)
        SELECT question_id, question_text, original_answer, llm_response, bert_score, bert_precision, bert_recall,
               bert_f1, reference_index, quality, scorer, model, processing_attempts, total_processing_time_ms,
               created_at, created_at,
               unscored_reason, coalesce(warnings, '{{}}'),
               (judge ->> 'probability')::real, judge ->> 'problem', judge ->> 'model', rejected_by
        FROM final JOIN given USING (question_id)
        ON CONFLICT (question_id) DO UPDATE
        SET (question_text, original_answer, llm_response, bert_score, bert_precision, bert_recall, bert_f1,
             reference_index, quality, scorer, model, processing_attempts, total_processing_time_ms, created_at,
             updated_at,
             unscored_reason, warnings,
             judge_probability, judge_problem, judge_model, rejected_by)
            = (excluded.question_text, excluded.original_answer, excluded.llm_response, excluded.bert_score,
               excluded.bert_precision, excluded.bert_recall, excluded.bert_f1, excluded.reference_index,
               excluded.quality, excluded.scorer,
               excluded.model, excluded.processing_attempts, excluded.total_processing_time_ms, excluded.created_at,
               excluded.updated_at,
               excluded.unscored_reason, excluded.warnings,
               excluded.judge_probability, excluded.judge_problem, excluded.judge_model, excluded.rejected_by)
    ), {_HISTORY}
    {_NOTIFY}
""")


def _rank(best: str) -> str:
    """Returns the rank of a best answer so far in SQL; the order is that of `routing.better`."""
    judged = f"({best} ->> 'rejected_by') IS NOT DISTINCT FROM 'judge'"
    probability = f"coalesce(({best} #>> '{{judgement,probability}}')::numeric, 0)"
    return f"""
        ({judged}, CASE WHEN {judged} THEN {probability} ELSE 0 END, ({best} ->> 'bert_score')::numeric)
    """


# History of questions that are still pending, unless they were restarted since then.
_NOTE = text(f"""
    WITH {_GIVEN}, final AS (
        SELECT question_id
        FROM questions JOIN given USING (question_id)
        WHERE question_id = ANY(:ids) AND status = 'pending'
              AND date_trunc('milliseconds', questions.asked_at) = given.asked_at
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ), better AS (
        UPDATE questions SET best = given.best
        FROM final JOIN given USING (question_id)
        WHERE questions.question_id = final.question_id AND given.best IS NOT NULL
              AND ({_rank("given.best")} > {_rank("questions.best")}) IS NOT FALSE
    ), {_HISTORY}
    SELECT question_id FROM final
""")

# A failure that is older than `asked_at` belongs to an earlier run and is ignored.
_FAIL = text(f"""
    WITH {_GIVEN}, pending AS (
        SELECT question_id
        FROM questions JOIN given USING (question_id)
        WHERE question_id = ANY(:ids) AND status = 'pending'
              AND date_trunc('milliseconds', questions.asked_at) <= given.not_before
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ), final AS (
        UPDATE questions SET status = 'failed', best = NULL
        FROM pending WHERE questions.question_id = pending.question_id
        RETURNING questions.question_id
    ), failure AS (
        INSERT INTO failed_questions (question_id, reason, retry_count, last_error, failed_at)
        SELECT question_id, reason, retry_count, last_error, failed_at FROM final JOIN given USING (question_id)
        ON CONFLICT DO NOTHING
    ), {_HISTORY}
    {_NOTIFY}
""")

_INSERT_QUESTIONS = text(f"""
    WITH {_GIVEN}
    INSERT INTO questions (question_id, question_text, question_context, original_answer, further_references,
                           asked_at, published_at)
    SELECT question_id, question_text, question_context, original_answer, coalesce(further_references, '{{}}'),
           asked_at, now()
    FROM given
    ORDER BY question_id
    ON CONFLICT (question_id) DO NOTHING
    RETURNING question_id
""")

# A separate statement after the insertion, which may have waited for a deletion that was not visible at its start.
_TAKE_DELETED = text("""
    DELETE FROM questions USING deleted_questions AS deleted
    WHERE questions.question_id = ANY(:ids) AND deleted.question_id = questions.question_id
          AND questions.asked_at <= deleted.asked_at
    RETURNING questions.question_id
""")

# One writer at a time publishes again. Row locks would also ensure this, but they would be held until the broker has
# acknowledged, and requests that ask one of these questions again would wait for that long.
_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('republish'))")

# With their history, because a lost question may have recorded attempts. Costs are texts, so that they stay exact.
_UNPUBLISHED = text("""
    SELECT question_id, question_text, question_context, original_answer, further_references, asked_at,
           best::text AS best,
           (SELECT json_agg(made ORDER BY attempt)::text FROM (
                SELECT attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens,
                       reasoning_tokens, cost::text AS cost, generated_at,
                       CASE WHEN judge_model IS NOT NULL THEN json_build_object(
                           'probability', judge_probability, 'problem', judge_problem, 'model', judge_model,
                           'prompt_tokens', judge_prompt_tokens, 'completion_tokens', judge_completion_tokens,
                           'cost', judge_cost::text
                       ) END AS judgement
                FROM attempts WHERE attempts.question_id = questions.question_id) AS made) AS attempts,
           (SELECT json_agg(erred ORDER BY attempt, retry)::text FROM (
                SELECT attempt, retry, type, cause, status_code, message, counts_as_retry, times, prompt_tokens,
                       completion_tokens, cost::text AS cost, failed_at, due_at
                FROM call_errors WHERE call_errors.question_id = questions.question_id) AS erred) AS errors
    FROM questions
    WHERE status = 'pending' AND published_at IS NULL AND asked_at < now() - make_interval(secs => :older_than)
    ORDER BY asked_at
    LIMIT :limit
""")

_MARK_PUBLISHED = text("""
    UPDATE questions
    SET published_at = now()
    FROM (
        SELECT question_id
        FROM questions
        JOIN unnest(CAST(:ids AS text[]), CAST(:asked AS timestamptz[])) AS mark (question_id, asked_at)
            USING (question_id)
        WHERE date_trunc('milliseconds', questions.asked_at) = date_trunc('milliseconds', mark.asked_at)
              AND published_at IS NULL
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ) AS published
    WHERE questions.question_id = published.question_id
""")

# As above, with another lock: a search may take minutes, and new questions must not wait for it.
_LOCK_SWEEP = text("SELECT pg_try_advisory_xact_lock(hashtext('sweep'))")

_STALE_QUESTIONS = text("""
    SELECT question_id, asked_at, published_at
    FROM questions
    WHERE status = 'pending' AND published_at < now() - make_interval(secs => :seconds)
          AND (asked_at, question_id) > (CAST(:after_asked_at AS timestamptz), :after_id)
          AND NOT EXISTS (
              SELECT FROM attempts
              WHERE attempts.question_id = questions.question_id
                    AND generated_at > now() - make_interval(secs => :seconds)
          )
          AND NOT EXISTS (
              SELECT FROM call_errors
              WHERE call_errors.question_id = questions.question_id
                    AND failed_at > now() - make_interval(secs => :seconds)
          )
    ORDER BY asked_at, question_id
    LIMIT :limit
""")

# `asked_at` is changed, so that the Flink job treats it as another question. The job may have seen an answer that was
# lost later, and would drop the next answer as a copy.
_LOST = text("""
    UPDATE questions
    SET published_at = NULL, asked_at = asked_at + interval '1 millisecond'
    FROM (
        SELECT question_id
        FROM questions
        JOIN unnest(CAST(:ids AS text[]), CAST(:published AS timestamptz[])) AS lost (question_id, published_at)
            USING (question_id)
        WHERE question_id = ANY(:ids) AND status = 'pending' AND questions.published_at = lost.published_at
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ) AS lost
    WHERE questions.question_id = lost.question_id
    RETURNING questions.question_id
""")

# The row is locked, so that a deletion happens before or after the insertion. A letter belongs to a deleted question if
# it was written before the deletion, or if there is no newer question with this id.
_LOCK_QUESTION = text("SELECT FROM questions WHERE question_id = :question_id FOR KEY SHARE")

_IS_OF_DELETED = text("""
    SELECT EXISTS (
        SELECT FROM deleted_questions AS deleted
        WHERE question_id = :question_id
              AND (deleted_at >= :failed_at
                   OR NOT EXISTS (SELECT FROM questions WHERE questions.question_id = deleted.question_id))
    )
""")

# A letter that is read again from the topic is already in the table.
_KEEP_DEAD_LETTER = text("""
    INSERT INTO dead_letters (topic, partition, topic_offset, source_topic, source_partition, source_offset, reason,
                              error, key, value, value_bytes, question_id, failed_at)
    VALUES (:topic, :partition, :topic_offset, :source_topic, :source_partition, :source_offset, :reason,
            :error, :key, :value, :value_bytes, :question_id, :failed_at)
    ON CONFLICT ON CONSTRAINT dead_letters_once DO NOTHING
""")

# Old questions, with locked rows: a concurrent restart happens before, or finds the question deleted.
_LOCK_RETENTION = text("SELECT pg_try_advisory_xact_lock(hashtext('retention'))")

_OLD_ANSWERED = text("""
    SELECT question_id
    FROM responses JOIN questions USING (question_id)
    WHERE status = 'completed' AND created_at < now() - make_interval(days => :days)
    ORDER BY created_at
    LIMIT :limit
    FOR UPDATE OF questions SKIP LOCKED
""")

_OLD_FAILED = text("""
    SELECT question_id
    FROM failed_questions JOIN questions USING (question_id)
    WHERE status = 'failed' AND failed_at < now() - make_interval(days => :days)
    ORDER BY failed_at
    LIMIT :limit
    FOR UPDATE OF questions SKIP LOCKED
""")

_FORGET = text("SELECT forget_questions(:ids)")

_DELETE_OLD_LETTERS = text("""
    DELETE FROM dead_letters
    WHERE id IN (
        SELECT id FROM dead_letters
        WHERE received_at < now() - make_interval(days => :days)
        ORDER BY received_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
""")

_PRUNE_DELETED = text("""
    DELETE FROM deleted_questions
    WHERE question_id IN (
        SELECT question_id FROM deleted_questions
        WHERE deleted_at < now() - make_interval(days => :days)
        ORDER BY deleted_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
""")

MAX_DEAD_LETTER_BYTES = 65_536
"""Maximum number of stored bytes of the value of a dead letter, and of its key."""

Row = dict[str, Any]
"""A row of `given`, by column, with JSON values."""


class Outbox:
    """The unpublished questions, locked for this writer."""

    def __init__(self, connection: Connection, questions: Sequence[Question]) -> None:
        self._connection = connection
        self.questions = questions

    def published(self, questions: Sequence[Question]) -> None:
        """Marks questions as published."""
        self._connection.execute(
            _MARK_PUBLISHED,
            {"ids": [each.question_id for each in questions], "asked": [each.asked_at for each in questions]},
        )


class StaleQuestions:
    """Pending questions without news for a long time, locked for this writer."""

    def __init__(self, connection: Connection, found: Sequence[Candidate]) -> None:
        self._connection = connection
        self.found = found

    def lost(self, lost: Sequence[Candidate]) -> list[str]:
        """Clears `published_at` of lost questions, unless they became final or were published meanwhile.

        Returns:
            The ids of the questions that will be published again.
        """
        if not lost:
            return []
        given = {"ids": [each.question_id for each in lost], "published": [each.published_at for each in lost]}
        return list(self._connection.execute(_LOST, given).scalars())


class Old:
    """Old final questions, locked for this writer."""

    def __init__(self, connection: Connection, question_ids: Sequence[str]) -> None:
        self._connection = connection
        self.question_ids = question_ids

    def delete(self) -> None:
        """Deletes the questions and all their data."""
        if self.question_ids:
            self._connection.execute(_FORGET, {"ids": list(self.question_ids)})


class Store:
    """Writes final states.

    Every method raises `Unavailable` when PostgreSQL is unavailable or its tables are not as expected, and
    `InvalidMessage` when PostgreSQL refuses the data.
    """

    def __init__(self, pool: Engine) -> None:
        self._pool = pool
        self._noted = Batcher(partial(self._write, _NOTE))
        self._completed = Batcher(partial(self._finish, _COMPLETE))
        self._failed = Batcher(partial(self._finish, _FAIL))

    def note(self, question: Question) -> bool:
        """Writes the attempts, the failed calls and the best answer so far of a pending question.

        Returns:
            Whether it is pending, and was not restarted since then.
        """
        best = question.best and question.best.model_dump(mode="json")
        return self._noted.do(_row(question) | {"best": best})

    def complete(self, question: Question, answer: Answer) -> bool:
        """Writes the answer and the attempts of a pending question; inserts the question if it has no row.

        Returns:
            Whether it was written; False when the question is already final, or was restarted or deleted after
            `question` was asked.
        """
        return self._completed.do(answer.model_dump(mode="json") | _row(question))

    def fail(self, question: Question, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Marks a pending question as failed; inserts the question if it has no row.

        Returns:
            Whether it was written; False when the question is already final, or was restarted or deleted after
            `question` was asked.
        """
        failure = _failure(reason, last_error, failed_at, question.retry_count, question.asked_at)
        return self._failed.do(_row(question) | failure)

    def fail_known(self, question_id: str, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Marks a question as failed of which only the id is known.

        Returns:
            Whether it was written; False when the question is unknown or final, or was asked after `failed_at`.
        """
        failure = _failure(reason, last_error, failed_at, retry_count=0, not_before=failed_at)
        return self._write(_FAIL, [{"question_id": question_id, "attempts": [], "errors": []} | failure])[0]

    @contextmanager
    def outbox(self, older_than_seconds: float, limit: int) -> Iterator[Outbox]:
        """Provides the oldest unpublished questions; none while another writer has locked them."""
        with _transaction(self._pool) as connection:
            rows: Sequence[Any] = ()
            if connection.execute(_LOCK).scalar_one():
                rows = (
                    connection.execute(_UNPUBLISHED, {"older_than": older_than_seconds, "limit": limit})
                    .mappings()
                    .all()
                )
            questions = [_resumed(row) for row in rows]
            yield Outbox(connection, [each for each in questions if each])

    @contextmanager
    def stale_questions(self, seconds: float, limit: int, after: Candidate | None) -> Iterator[StaleQuestions]:
        """Provides pending questions that were published long ago, and have had no attempt or failed call since then.

        They are sorted by the time of asking. There are none while another writer has locked them.

        Args:
            seconds: Minimum age of the publication, of the last attempt and of the last failed call.
            limit: Maximum number of questions.
            after: Only questions that were asked after this one; None: from the first one.
        """
        wanted = {
            "seconds": seconds,
            "limit": limit,
            "after_asked_at": after.asked_at.isoformat() if after else "-infinity",
            "after_id": after.question_id if after else "",
        }
        with _transaction(self._pool) as connection:
            found: Sequence[Candidate] = ()
            if connection.execute(_LOCK_SWEEP).scalar_one():
                found = [Candidate(**row) for row in connection.execute(_STALE_QUESTIONS, wanted).mappings()]
            yield StaleQuestions(connection, found)

    @contextmanager
    def old(self, days: int, limit: int) -> Iterator[Old]:
        """Provides questions that ended more than `days` days ago; none while another writer has locked them."""
        wanted = {"days": days, "limit": limit}
        with _transaction(self._pool) as connection:
            found: list[str] = []
            if connection.execute(_LOCK_RETENTION).scalar_one():
                found.extend(connection.execute(_OLD_ANSWERED, wanted).scalars())
                left = wanted | {"limit": limit - len(found)}
                found.extend(connection.execute(_OLD_FAILED, left).scalars())
            yield Old(connection, found)

    def delete_old_letters(self, days: int, limit: int) -> int:
        """Deletes dead letters that are older than `days` days, at most `limit`; returns their number."""
        return self._delete(_DELETE_OLD_LETTERS, days, limit)

    def prune_deleted(self, days: int, limit: int) -> int:
        """Removes at most `limit` entries of questions deleted more than `days` days ago; returns their number."""
        return self._delete(_PRUNE_DELETED, days, limit)

    def _delete(self, statement: TextClause, days: int, limit: int) -> int:
        with _transaction(self._pool) as connection:
            return connection.execute(statement, {"days": days, "limit": limit}).rowcount

    def keep_dead_letter(self, place: RecordPosition, letter: DeadLetter, question_id: str | None) -> bool:
        """Stores a rejected message; does not change one that is already stored.

        Args:
            place: Position of the letter.
            letter: The message, and why it was rejected.
            question_id: Question id in its key; None: the key is not a question id.

        Returns:
            Whether it is stored; False when its question was deleted.
        """
        key, value = _bytes(letter.key_base64), _bytes(letter.value_base64)
        row = {
            "topic": place.topic,
            "partition": place.partition,
            "topic_offset": place.offset,
            "source_topic": _storable(letter.source.topic),
            "source_partition": letter.source.partition,
            "source_offset": letter.source.offset,
            "reason": letter.reason,
            "error": _storable(letter.error),
            "key": None if key is None else key[:MAX_DEAD_LETTER_BYTES],
            "value": None if value is None else value[:MAX_DEAD_LETTER_BYTES],
            "value_bytes": None if value is None else len(value),
            "question_id": question_id,
            "failed_at": letter.failed_at,
        }
        with _transaction(self._pool) as connection:
            if question_id:
                connection.execute(_LOCK_QUESTION, row)
                if connection.execute(_IS_OF_DELETED, row).scalar_one():
                    return False
            connection.execute(_KEEP_DEAD_LETTER, row)
        return True

    def _write(self, statement: TextClause, rows: Sequence[Row]) -> list[bool]:
        """Returns for each row whether its question was written."""
        with _transaction(self._pool) as connection:
            return _one_of_each(rows, lambda distinct: _execute(connection, statement, distinct))

    def _finish(self, statement: TextClause, rows: Sequence[Row]) -> list[bool]:
        """Returns for each row whether its question was pending, or not in the table, and is final now."""

        def finish(distinct: Sequence[Row]) -> set[str]:
            done = _execute(connection, statement, distinct)
            # Nearly always repeated messages. Otherwise the question has no row: the database was reset, or the message
            # was written by hand.
            left = [row for row in distinct if row["question_id"] not in done]
            inserted = _execute(connection, _INSERT_QUESTIONS, left)
            inserted -= _take_deleted(connection, inserted)
            return done | _execute(connection, statement, [row for row in left if row["question_id"] in inserted])

        with _transaction(self._pool) as connection:
            return _one_of_each(rows, finish)


def _execute(connection: Connection, statement: TextClause, rows: Sequence[Row]) -> set[str]:
    """Runs a statement if there are rows; returns the ids of the questions that it has written."""
    if not rows:
        return set()
    given = {"rows": json.dumps(rows), "ids": [row["question_id"] for row in rows]}
    return set(connection.execute(statement, given).scalars())


def _take_deleted(connection: Connection, inserted: Collection[str]) -> set[str]:
    """Removes inserted rows whose questions were deleted after their messages were written; returns their ids."""
    if not inserted:
        return set()
    taken = set(connection.execute(_TAKE_DELETED, {"ids": list(inserted)}).scalars())
    for question_id in taken:
        log.info("dropped a message of a deleted question", question_id=question_id)
    return taken


def _one_of_each(rows: Sequence[Row], write: Callable[[Sequence[Row]], Collection[str]]) -> list[bool]:
    """Writes rows in statements that contain each question once; several rows of a question are written one by one.

    Returns:
        For each row, whether its question was among those that `write` returned.
    """
    written = [False] * len(rows)
    left = dict(enumerate(rows))
    while left:
        places = {row["question_id"]: place for place, row in reversed(left.items())}
        done = write([left.pop(place) for place in places.values()])
        for question_id, place in places.items():
            written[place] = question_id in done
    return written


def _row(question: Question) -> Row:
    columns = {"question_id", "question_text", "question_context", "original_answer", "asked_at", "attempts", "errors"}
    return question.model_dump(mode="json", include=columns) | {"further_references": list(question.references)}


def _failure(reason: Reason, last_error: str, failed_at: datetime, retry_count: int, not_before: datetime) -> Row:
    return {
        "reason": reason,
        # An invalid character in the error must not prevent the update.
        "last_error": _storable(last_error),
        "failed_at": failed_at.isoformat(),
        "retry_count": retry_count,
        "not_before": not_before.isoformat(),
    }


def _storable(text: str) -> str:
    """Replaces NUL in a text, which PostgreSQL does not accept."""
    return text.replace("\x00", "\ufffd")


def _bytes(base64_text: str | None) -> bytes | None:
    """Decodes base64 of a letter; returns None for null, and for invalid base64 (the letter was written by hand)."""
    try:
        return None if base64_text is None else base64.b64decode(base64_text)
    except ValueError:
        return None


def _resumed(row: RowMapping) -> Question | None:
    """Returns an unpublished question with its history; None for one that does not fit the message schema."""
    asked = ("question_id", "question_text", "question_context", "original_answer", "asked_at")
    try:
        question = Question(**{name: row[name] for name in asked}, references=tuple(row["further_references"]))
    except ValidationError as error:  # a row that was written by hand must not block the others
        log.error("skipped an invalid question", question_id=row["question_id"], error=error.errors()[0]["msg"])
        return None
    return history.resumed(question, row["best"], row["attempts"], row["errors"])


@contextmanager
def _transaction(pool: Engine) -> Iterator[Connection]:
    try:
        with postgres.transaction(pool) as connection:
            yield connection
    except ProgrammingError as error:  # the tables have another version; the message is not at fault
        raise Unavailable(f"PostgreSQL: {error.orig}") from error
    except (DataError, IntegrityError) as error:
        raise InvalidMessage(f"PostgreSQL refused the data: {str(error.orig).splitlines()[0]}") from error
