"""What storage-writer does in PostgreSQL.

A question leaves `pending` once: `completed` and `failed` never change here, so whatever is replayed changes nothing.
Questions that come at the same time share a statement and a transaction. A change of state is one statement, and its
last part notifies whoever waits for the question.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from pipeline import postgres
from pipeline.batcher import Batcher
from pipeline.cache import Answer
from pipeline.errors import Unavailable
from pipeline.messages import Question, Reason, Unreadable

# Each statement is given rows, one for each question; what it has no use for is null. It finds them by their ids, whose
# number the planner knows, and locks them in this order, as everybody does who locks several: two that wait for each
# other's rows would be a deadlock.
_GIVEN = """
    given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS given (
            question_id text, question_text text, question_context text, original_answer text, asked_at timestamptz,
            attempts json, errors json,
            llm_response text, bert_score numeric, bert_precision numeric, bert_recall numeric, bert_f1 numeric,
            quality text, scorer text, model text, processing_attempts integer, total_processing_time_ms bigint,
            created_at timestamptz,
            not_before timestamptz, reason text, retry_count integer, last_error text, failed_at timestamptz
        )
    )
"""

# Two parts of a statement that keep the history of the questions in `final`. What is there already is replaced: the
# history that a final message brings is the one that its answer was chosen from.
# A field that messages of an older version lack is null: then it is what was true of all of them.
_HISTORY = """
    scored AS (
        INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens,
                              completion_tokens, reasoning_tokens, cost, generated_at)
        SELECT question_id, attempt, scored.model, scored.llm_response, scored.bert_score, llm_latency_ms,
               prompt_tokens, completion_tokens, coalesce(reasoning_tokens, 0), cost, generated_at
        FROM final JOIN given USING (question_id) CROSS JOIN json_to_recordset(given.attempts)
            AS scored (attempt integer, model text, llm_response text, bert_score numeric, llm_latency_ms integer,
                       prompt_tokens integer, completion_tokens integer, reasoning_tokens integer, cost numeric,
                       generated_at timestamptz)
        ON CONFLICT (question_id, attempt) DO UPDATE
        SET (model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens, reasoning_tokens, cost,
             generated_at)
            = (excluded.model, excluded.llm_response, excluded.bert_score, excluded.llm_latency_ms,
               excluded.prompt_tokens, excluded.completion_tokens, excluded.reasoning_tokens, excluded.cost,
               excluded.generated_at)
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

_COMPLETE = text(f"""
    WITH {_GIVEN}, pending AS (
        SELECT question_id FROM questions
        WHERE question_id = ANY(:ids) AND status = 'pending'
        ORDER BY question_id
        FOR NO KEY UPDATE
    ), final AS (
        UPDATE questions SET status = 'completed' FROM pending WHERE questions.question_id = pending.question_id
        RETURNING questions.question_id
    ), kept AS (
        INSERT INTO responses (question_id, question_text, original_answer, llm_response, bert_score, bert_precision,
                               bert_recall, bert_f1, quality, scorer, model, processing_attempts,
                               total_processing_time_ms, created_at, updated_at)
        SELECT question_id, question_text, original_answer, llm_response, bert_score, bert_precision, bert_recall,
               bert_f1, quality, scorer, model, processing_attempts, total_processing_time_ms, created_at, created_at
        FROM final JOIN given USING (question_id)
        ON CONFLICT DO NOTHING
    ), {_HISTORY}
    {_NOTIFY}
""")

# Not final yet: what is known of questions in flight, unless they were asked anew since then.
_NOTE = text(f"""
    WITH {_GIVEN}, final AS (
        SELECT question_id
        FROM questions JOIN given USING (question_id)
        WHERE question_id = ANY(:ids) AND status = 'pending'
              AND date_trunc('milliseconds', questions.asked_at) = given.asked_at
        ORDER BY question_id
        FOR SHARE OF questions
    ), {_HISTORY}
    SELECT question_id FROM final
""")

# A failure that is older than the question (which failed and was asked anew since then) is not its failure. Messages
# carry milliseconds, rows that were made by hand microseconds.
_FAIL = text(f"""
    WITH {_GIVEN}, pending AS (
        SELECT question_id
        FROM questions JOIN given USING (question_id)
        WHERE question_id = ANY(:ids) AND status = 'pending'
              AND date_trunc('milliseconds', questions.asked_at) <= given.not_before
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ), final AS (
        UPDATE questions SET status = 'failed' FROM pending WHERE questions.question_id = pending.question_id
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
    INSERT INTO questions (question_id, question_text, question_context, original_answer, asked_at, published_at)
    SELECT question_id, question_text, question_context, original_answer, asked_at, now()
    FROM given
    ORDER BY question_id
    ON CONFLICT (question_id) DO NOTHING
    RETURNING question_id
""")

# One writer at a time publishes again. Row locks would do that too, but they would be held until the broker has
# acknowledged, and whoever asks one of these questions again would wait that long.
_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('republish'))")

_UNPUBLISHED = text("""
    SELECT question_id, question_text, question_context, original_answer, asked_at
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
        WHERE date_trunc('milliseconds', questions.asked_at) = mark.asked_at AND published_at IS NULL
        ORDER BY question_id
        FOR NO KEY UPDATE OF questions
    ) AS published
    WHERE questions.question_id = published.question_id
""")

Row = dict[str, Any]
"""Of `given`, by column; as JSON has it."""


class Outbox:
    """The unpublished questions, for as long as this writer is the one that publishes them."""

    def __init__(self, connection: Connection, questions: Sequence[Question]) -> None:
        self._connection = connection
        self.questions = questions

    def published(self, questions: Sequence[Question]) -> None:
        """Marks what the broker has acknowledged."""
        self._connection.execute(
            _MARK_PUBLISHED,
            {"ids": [each.question_id for each in questions], "asked": [each.asked_at for each in questions]},
        )


class Store:
    """Writes final states.

    Every method raises `Unavailable` when PostgreSQL is away or its tables are not as expected, and `Unreadable` for
    data that it refuses.
    """

    def __init__(self, pool: Engine) -> None:
        self._pool = pool
        self._noted = Batcher(partial(self._write, _NOTE))
        self._completed = Batcher(partial(self._finish, _COMPLETE))
        self._failed = Batcher(partial(self._finish, _FAIL))

    def note(self, question: Question) -> bool:
        """Keeps the attempts and failed calls so far of a pending question.

        Returns:
            Whether it is pending, and not asked anew since then.
        """
        return self._noted.do(_row(question))

    def complete(self, question: Question, answer: Answer) -> bool:
        """Keeps the answer and the attempts of a pending question; one without a row gets it first.

        Returns:
            Whether it was kept; False when the question is final already.
        """
        return self._completed.do(answer.model_dump(mode="json") | _row(question))

    def fail(self, question: Question, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Gives up a pending question; one without a row gets it first.

        Returns:
            Whether it failed; False when it is final already, or was asked anew after `question` was.
        """
        failure = _failure(reason, last_error, failed_at, question.retry_count, question.asked_at)
        return self._failed.do(_row(question) | failure)

    def fail_known(self, question_id: str, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Gives up a question of which only the id is known.

        Returns:
            Whether it failed; False when it is unknown, final, or was asked after `failed_at`.
        """
        failure = _failure(reason, last_error, failed_at, retry_count=0, not_before=failed_at)
        return self._write(_FAIL, [{"question_id": question_id, "attempts": [], "errors": []} | failure])[0]

    @contextmanager
    def outbox(self, older_than_seconds: float, limit: int) -> Iterator[Outbox]:
        """Lends the oldest unpublished questions; they are none while another writer has them."""
        with _transaction(self._pool) as connection:
            rows: Sequence[Any] = ()
            if connection.execute(_LOCK).scalar_one():
                rows = (
                    connection.execute(_UNPUBLISHED, {"older_than": older_than_seconds, "limit": limit})
                    .mappings()
                    .all()
                )
            yield Outbox(connection, [Question(**row) for row in rows])

    def _write(self, statement: TextClause, rows: Sequence[Row]) -> list[bool]:
        """Returns of which rows the question was written."""
        with _transaction(self._pool) as connection:
            return _one_of_each(rows, lambda distinct: _execute(connection, statement, distinct))

    def _finish(self, statement: TextClause, rows: Sequence[Row]) -> list[bool]:
        """Returns of which rows the question was pending, or had no row until now, and is final now."""

        def finish(distinct: Sequence[Row]) -> set[str]:
            done = _execute(connection, statement, distinct)
            # Nearly always replays. Otherwise the question has no row: the database was reset, or the message was
            # written by hand.
            left = [row for row in distinct if row["question_id"] not in done]
            inserted = _execute(connection, _INSERT_QUESTIONS, left)
            return done | _execute(connection, statement, [row for row in left if row["question_id"] in inserted])

        with _transaction(self._pool) as connection:
            return _one_of_each(rows, finish)


def _execute(connection: Connection, statement: TextClause, rows: Sequence[Row]) -> set[str]:
    """Returns the ids of the questions that a statement has written; no row, no statement."""
    if not rows:
        return set()
    given = {"rows": json.dumps(rows), "ids": [row["question_id"] for row in rows]}
    return set(connection.execute(statement, given).scalars())


def _one_of_each(rows: Sequence[Row], write: Callable[[Sequence[Row]], Collection[str]]) -> list[bool]:
    """Writes rows with no question twice in one statement, but copies and attempts of one after each other.

    Returns:
        Of which rows the question was among those that `write` returned.
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
    return question.model_dump(mode="json", include=columns)


def _failure(reason: Reason, last_error: str, failed_at: datetime, retry_count: int, not_before: datetime) -> Row:
    return {
        "reason": reason,
        # The text of an error must not keep a question from failing.
        "last_error": last_error.replace("\x00", "\ufffd"),
        "failed_at": failed_at.isoformat(),
        "retry_count": retry_count,
        "not_before": not_before.isoformat(),
    }


@contextmanager
def _transaction(pool: Engine) -> Iterator[Connection]:
    try:
        with postgres.transaction(pool) as connection:
            yield connection
    except ProgrammingError as error:  # tables of another version: no message is at fault
        raise Unavailable(f"PostgreSQL: {error.orig}") from error
    except (DataError, IntegrityError) as error:
        raise Unreadable(f"PostgreSQL refused it: {str(error.orig).splitlines()[0]}") from error
    except (ValueError, UnicodeError) as error:  # the driver, of NUL in a text
        raise Unreadable(f"PostgreSQL cannot store it: {error}") from error
