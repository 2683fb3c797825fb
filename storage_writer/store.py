"""What storage-writer does in PostgreSQL.

A question leaves `pending` once: `completed` and `failed` never change here, so whatever is replayed changes nothing.
Each change of state is one statement, and its last part notifies whoever waits for the question.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from pipeline import postgres
from pipeline.cache import Answer
from pipeline.errors import Unavailable
from pipeline.messages import Attempt, CallFailure, Question, Reason, Unreadable

# Two parts of a statement that keep the history of the questions in `final`. What is there already is replaced: the
# history that a final message brings is the one that its answer was chosen from.
_HISTORY = """
    scored AS (
        INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens,
                              completion_tokens, cost, generated_at)
        SELECT final.question_id, scored.*
        FROM final CROSS JOIN json_to_recordset(CAST(:attempts AS json))
            AS scored (attempt integer, model text, llm_response text, bert_score numeric, llm_latency_ms integer,
                       prompt_tokens integer, completion_tokens integer, cost numeric, generated_at timestamptz)
        ON CONFLICT (question_id, attempt) DO UPDATE
        SET (model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens, cost, generated_at)
            = (excluded.model, excluded.llm_response, excluded.bert_score, excluded.llm_latency_ms,
               excluded.prompt_tokens, excluded.completion_tokens, excluded.cost, excluded.generated_at)
    ), erred AS (
        INSERT INTO call_errors (question_id, attempt, retry, type, status_code, message, prompt_tokens,
                                 completion_tokens, cost, failed_at, due_at)
        SELECT final.question_id, erred.*
        FROM final CROSS JOIN json_to_recordset(CAST(:errors AS json))
            AS erred (attempt integer, retry integer, type text, status_code integer, message text,
                      prompt_tokens integer, completion_tokens integer, cost numeric, failed_at timestamptz,
                      due_at timestamptz)
        ON CONFLICT (question_id, attempt, retry) DO UPDATE
        SET (type, status_code, message, prompt_tokens, completion_tokens, cost, failed_at, due_at)
            = (excluded.type, excluded.status_code, excluded.message, excluded.prompt_tokens,
               excluded.completion_tokens, excluded.cost, excluded.failed_at, excluded.due_at)
    )
"""

_NOTIFY = f"SELECT pg_notify('{postgres.FINAL_CHANNEL}', question_id) FROM final"

_COMPLETE = text(f"""
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
    ), {_HISTORY}
    {_NOTIFY}
""")

# Not final yet: what is known of a question in flight, unless it was asked anew since then.
_NOTE = text(f"""
    WITH final AS (
        SELECT question_id FROM questions
        WHERE question_id = :question_id AND status = 'pending' AND date_trunc('milliseconds', asked_at) = :asked_at
        FOR SHARE
    ), {_HISTORY}
    SELECT question_id FROM final
""")

# A failure that is older than the question (which failed and was asked anew since then) is not its failure. Messages
# carry milliseconds, rows that were made by hand microseconds.
_FAIL = text(f"""
    WITH final AS (
        UPDATE questions SET status = 'failed'
        WHERE question_id = :question_id AND status = 'pending'
              AND date_trunc('milliseconds', asked_at) <= :not_before
        RETURNING question_id
    ), failure AS (
        INSERT INTO failed_questions (question_id, reason, retry_count, last_error, failed_at)
        SELECT question_id, :reason, :retry_count, :last_error, :failed_at FROM final
        ON CONFLICT DO NOTHING
    ), {_HISTORY}
    {_NOTIFY}
""")

_INSERT_QUESTION = text("""
    INSERT INTO questions (question_id, question_text, question_context, original_answer, asked_at, published_at)
    VALUES (:question_id, :question_text, :question_context, :original_answer, :asked_at, now())
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
    UPDATE questions AS q
    SET published_at = now()
    FROM unnest(CAST(:ids AS text[]), CAST(:asked AS timestamptz[])) AS mark (question_id, asked_at)
    WHERE q.question_id = mark.question_id AND date_trunc('milliseconds', q.asked_at) = mark.asked_at
          AND q.published_at IS NULL
""")


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
        # A change of state is one statement: BEGIN and COMMIT around it would be two more round trips.
        self._at_once = pool.execution_options(isolation_level="AUTOCOMMIT")

    def note(self, question: Question) -> bool:
        """Keeps the attempts and failed calls so far of a pending question.

        Returns:
            Whether it is pending, and not asked anew since then.
        """
        row = _history(question) | {"question_id": question.question_id, "asked_at": question.asked_at}
        with _transaction(self._at_once) as connection:
            return connection.execute(_NOTE, row).first() is not None

    def complete(self, question: Question, answer: Answer) -> bool:
        """Keeps the answer and the attempts of a pending question; one without a row gets it first.

        Returns:
            Whether it was kept; False when the question is final already.
        """
        return self._finish(_COMPLETE, question, answer.model_dump() | _history(question))

    def fail(self, question: Question, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Gives up a pending question; one without a row gets it first.

        Returns:
            Whether it failed; False when it is final already, or was asked anew after `question` was.
        """
        return self._finish(
            _FAIL,
            question,
            _failure(reason, last_error, failed_at, question.retry_count)
            | _history(question)
            | {"not_before": question.asked_at},
        )

    def fail_known(self, question_id: str, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Gives up a question of which only the id is known.

        Returns:
            Whether it failed; False when it is unknown, final, or was asked after `failed_at`.
        """
        row = _failure(reason, last_error, failed_at, retry_count=0)
        with _transaction(self._at_once) as connection:
            found = connection.execute(
                _FAIL,
                row | {"question_id": question_id, "attempts": "[]", "errors": "[]", "not_before": failed_at},
            )
            return found.first() is not None

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

    def _finish(self, statement: TextClause, question: Question, row: Mapping[str, Any]) -> bool:
        known = question.model_dump(include={"question_id", "question_text", "question_context", "original_answer"})
        row = {**row, **known, "asked_at": question.asked_at}
        with _transaction(self._at_once) as connection:
            if connection.execute(statement, row).first():
                return True
            # Nearly always a replay. Otherwise the question has no row: the database was reset, or the message was
            # written by hand. A crash between the next two leaves it pending, and the message is read again.
            inserted = connection.execute(_INSERT_QUESTION, row).first()
            return inserted is not None and connection.execute(statement, row).first() is not None


def _failure(reason: Reason, last_error: str, failed_at: datetime, retry_count: int) -> dict[str, Any]:
    return {
        "reason": reason,
        # The text of an error must not keep a question from failing.
        "last_error": last_error.replace("\x00", "\ufffd"),
        "failed_at": failed_at,
        "retry_count": retry_count,
    }


def _history(question: Question) -> dict[str, str]:
    def listed(entries: Sequence[Attempt] | Sequence[CallFailure]) -> str:
        return json.dumps([entry.model_dump(mode="json") for entry in entries])

    return {"attempts": listed(question.attempts), "errors": listed(question.errors)}


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
