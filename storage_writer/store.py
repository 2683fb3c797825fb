"""What storage-writer does in PostgreSQL.

A question leaves `pending` once: `completed` and `failed` never change here, so whatever is replayed changes nothing.
What belongs to an earlier run of a question, or to one that was deleted, changes nothing either: it was asked earlier.
Questions that come at the same time share a statement and a transaction. A change of state is one statement, and its
last part notifies whoever waits for the question.
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
from pipeline.messages import Malformed, Question, Reason, RecordPosition, Unreadable
from storage_writer import history
from storage_writer.sweep import Candidate

log = structlog.get_logger()

# Each statement is given rows, one for each question; what it has no use for is null. It finds them by their ids, whose
# number the planner knows, and locks them in this order, as everybody does who locks several: two that wait for each
# other's rows would be a deadlock.
_GIVEN = """
    given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS given (
            question_id text, question_text text, question_context text, original_answer text, asked_at timestamptz,
            attempts json, errors json, best json,
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

# An answer of an earlier run is not the one that is waited for: the question was asked anew since then. Messages carry
# milliseconds, rows that were made by hand microseconds. A row may have an answer: that of the run before.
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
                               bert_recall, bert_f1, quality, scorer, model, processing_attempts,
                               total_processing_time_ms, created_at, updated_at)
        SELECT question_id, question_text, original_answer, llm_response, bert_score, bert_precision, bert_recall,
               bert_f1, quality, scorer, model, processing_attempts, total_processing_time_ms, created_at, created_at
        FROM final JOIN given USING (question_id)
        ON CONFLICT (question_id) DO UPDATE
        SET (question_text, original_answer, llm_response, bert_score, bert_precision, bert_recall, bert_f1, quality,
             scorer, model, processing_attempts, total_processing_time_ms, created_at, updated_at)
            = (excluded.question_text, excluded.original_answer, excluded.llm_response, excluded.bert_score,
               excluded.bert_precision, excluded.bert_recall, excluded.bert_f1, excluded.quality, excluded.scorer,
               excluded.model, excluded.processing_attempts, excluded.total_processing_time_ms, excluded.created_at,
               excluded.updated_at)
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
        FOR NO KEY UPDATE OF questions
    ), better AS (
        UPDATE questions SET best = given.best
        FROM final JOIN given USING (question_id)
        WHERE questions.question_id = final.question_id AND given.best IS NOT NULL
              AND ((given.best ->> 'bert_score')::numeric > (questions.best ->> 'bert_score')::numeric) IS NOT FALSE
    ), {_HISTORY}
    SELECT question_id FROM final
""")

# A failure that is older than the question, which was asked anew since then, is not its failure.
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
    INSERT INTO questions (question_id, question_text, question_context, original_answer, asked_at, published_at)
    SELECT question_id, question_text, question_context, original_answer, asked_at, now()
    FROM given
    ORDER BY question_id
    ON CONFLICT (question_id) DO NOTHING
    RETURNING question_id
""")

# After the insertion, not in it: that may have waited for a deletion that it could not see when it began.
_TAKE_DELETED = text("""
    DELETE FROM questions USING deleted_questions AS deleted
    WHERE questions.question_id = ANY(:ids) AND deleted.question_id = questions.question_id
          AND questions.asked_at <= deleted.asked_at
    RETURNING questions.question_id
""")

# One writer at a time publishes again. Row locks would do that too, but they would be held until the broker has
# acknowledged, and whoever asks one of these questions again would wait that long.
_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtext('republish'))")

# With their history: a lost one may have attempts that are noted. Costs are texts, so that they stay exact.
_UNPUBLISHED = text("""
    SELECT question_id, question_text, question_context, original_answer, asked_at, best::text AS best,
           (SELECT json_agg(made ORDER BY attempt)::text FROM (
                SELECT attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens, completion_tokens,
                       reasoning_tokens, cost::text AS cost, generated_at
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

# As above, with a lock of its own: a search may take minutes, and new questions are not to wait for it.
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

# The later time of asking makes it another question to the Flink job, which may have seen an answer that was lost after
# it, and would take the next one for a copy.
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

# The row is locked, so that a deletion comes before it or after it. A letter may belong to a question that was deleted
# if it was written by then, or if there is no newer question of this id.
_LOCK_QUESTION = text("SELECT FROM questions WHERE question_id = :question_id FOR KEY SHARE")

_IS_OF_DELETED = text("""
    SELECT EXISTS (
        SELECT FROM deleted_questions AS deleted
        WHERE question_id = :question_id
              AND (deleted_at >= :failed_at
                   OR NOT EXISTS (SELECT FROM questions WHERE questions.question_id = deleted.question_id))
    )
""")

# The bytes stay in the topic as long as it keeps them; read again, a letter is there already.
_KEEP_DEAD_LETTER = text("""
    INSERT INTO dead_letters (topic, partition, topic_offset, source_topic, source_partition, source_offset, reason,
                              error, key, value, value_bytes, question_id, failed_at)
    VALUES (:topic, :partition, :topic_offset, :source_topic, :source_partition, :source_offset, :reason,
            :error, :key, :value, :value_bytes, :question_id, :failed_at)
    ON CONFLICT ON CONSTRAINT dead_letters_once DO NOTHING
""")

# Old questions, rows locked: who starts one anew meanwhile comes first, or finds it gone.
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
"""Of the value of a dead letter that are kept; as many of its key."""

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


class StaleQuestions:
    """Pending questions of which nothing was heard for long, while this writer is the one that looks for them."""

    def __init__(self, connection: Connection, found: Sequence[Candidate]) -> None:
        self._connection = connection
        self.found = found

    def lost(self, lost: Sequence[Candidate]) -> list[str]:
        """Takes `published_at` from questions, unless they are final or were published since they were found.

        Returns:
            The ids of those that are to be published again.
        """
        if not lost:
            return []
        given = {"ids": [each.question_id for each in lost], "published": [each.published_at for each in lost]}
        return list(self._connection.execute(_LOST, given).scalars())


class Old:
    """Questions that ended long ago, while this writer is the one that deletes them."""

    def __init__(self, connection: Connection, question_ids: Sequence[str]) -> None:
        self._connection = connection
        self.question_ids = question_ids

    def delete(self) -> None:
        """Deletes them and all that hangs on them."""
        if self.question_ids:
            self._connection.execute(_FORGET, {"ids": list(self.question_ids)})


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
        """Keeps the attempts and failed calls so far of a pending question, and its best answer so far.

        Returns:
            Whether it is pending, and not asked anew since then.
        """
        best = question.best and question.best.model_dump(mode="json")
        return self._noted.do(_row(question) | {"best": best})

    def complete(self, question: Question, answer: Answer) -> bool:
        """Keeps the answer and the attempts of a pending question; one without a row gets it first.

        Returns:
            Whether it was kept; False when the question is final already, or was asked anew or deleted after
            `question` was asked.
        """
        return self._completed.do(answer.model_dump(mode="json") | _row(question))

    def fail(self, question: Question, reason: Reason, last_error: str, failed_at: datetime) -> bool:
        """Gives up a pending question; one without a row gets it first.

        Returns:
            Whether it failed; False when it is final already, or was asked anew or deleted after `question` was asked.
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
            questions = [_resumed(row) for row in rows]
            yield Outbox(connection, [each for each in questions if each])

    @contextmanager
    def stale_questions(self, seconds: float, limit: int, after: Candidate | None) -> Iterator[StaleQuestions]:
        """Lends pending questions published longer ago than `seconds`, without an attempt or failed call noted since.

        They are none while another writer has them. Those come first that were asked first.

        Args:
            seconds: See there.
            limit: How many at most.
            after: Only those that were asked after this one; None: from the first one on.
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
        """Lends questions that ended longer ago than so many days; they are none while another writer has them."""
        wanted = {"days": days, "limit": limit}
        with _transaction(self._pool) as connection:
            found: list[str] = []
            if connection.execute(_LOCK_RETENTION).scalar_one():
                found.extend(connection.execute(_OLD_ANSWERED, wanted).scalars())
                left = wanted | {"limit": limit - len(found)}
                found.extend(connection.execute(_OLD_FAILED, left).scalars())
            yield Old(connection, found)

    def delete_old_letters(self, days: int, limit: int) -> int:
        """Deletes dead letters that came longer ago than so many days; returns how many, `limit` at most."""
        return self._delete(_DELETE_OLD_LETTERS, days, limit)

    def prune_deleted(self, days: int, limit: int) -> int:
        """Forgets which questions were deleted longer ago than so many days; returns how many, `limit` at most."""
        return self._delete(_PRUNE_DELETED, days, limit)

    def _delete(self, statement: TextClause, days: int, limit: int) -> int:
        with _transaction(self._pool) as connection:
            return connection.execute(statement, {"days": days, "limit": limit}).rowcount

    def keep_dead_letter(self, place: RecordPosition, letter: Malformed, question_id: str | None) -> bool:
        """Keeps a message that was rejected; one that is there already stays as it is.

        Args:
            place: Where the letter stands.
            letter: The message, and why it was rejected.
            question_id: Its key, if that is one.

        Returns:
            Whether it is kept; False when it is of a question that was deleted.
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
            inserted -= _take_deleted(connection, inserted)
            return done | _execute(connection, statement, [row for row in left if row["question_id"] in inserted])

        with _transaction(self._pool) as connection:
            return _one_of_each(rows, finish)


def _execute(connection: Connection, statement: TextClause, rows: Sequence[Row]) -> set[str]:
    """Returns the ids of the questions that a statement has written; no row, no statement."""
    if not rows:
        return set()
    given = {"rows": json.dumps(rows), "ids": [row["question_id"] for row in rows]}
    return set(connection.execute(statement, given).scalars())


def _take_deleted(connection: Connection, inserted: Collection[str]) -> set[str]:
    """Takes rows out again whose questions were deleted after their messages were written; returns their ids."""
    if not inserted:
        return set()
    taken = set(connection.execute(_TAKE_DELETED, {"ids": list(inserted)}).scalars())
    for question_id in taken:
        log.info("dropped a message of a deleted question", question_id=question_id)
    return taken


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
        "last_error": _storable(last_error),
        "failed_at": failed_at.isoformat(),
        "retry_count": retry_count,
        "not_before": not_before.isoformat(),
    }


def _storable(text: str) -> str:
    """Returns a text without NUL, which PostgreSQL refuses."""
    return text.replace("\x00", "\ufffd")


def _bytes(base64_text: str | None) -> bytes | None:
    """Returns what a letter has in base64; None for nothing, or for what is none (the letter was written by hand)."""
    try:
        return None if base64_text is None else base64.b64decode(base64_text)
    except ValueError:
        return None


def _resumed(row: RowMapping) -> Question | None:
    """Returns an unpublished question with its history; None for one that no message can carry."""
    asked = ("question_id", "question_text", "question_context", "original_answer", "asked_at")
    try:
        question = Question(**{name: row[name] for name in asked})
    except ValidationError as error:  # a row that was written by hand: it must not hold up the others
        log.error("cannot publish a question", question_id=row["question_id"], error=error.errors()[0]["msg"])
        return None
    return history.resumed(question, row["best"], row["attempts"], row["errors"])


@contextmanager
def _transaction(pool: Engine) -> Iterator[Connection]:
    try:
        with postgres.transaction(pool) as connection:
            yield connection
    except ProgrammingError as error:  # tables of another version: no message is at fault
        raise Unavailable(f"PostgreSQL: {error.orig}") from error
    except (DataError, IntegrityError) as error:
        raise Unreadable(f"PostgreSQL refused it: {str(error.orig).splitlines()[0]}") from error
