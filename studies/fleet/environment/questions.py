"""New questions for the fleet, and completed questions written to PostgreSQL without a model.

The scores of the completed questions are artificial, uniform from 0 to 0.62. `delete_benchmark_rows` deletes both.
"""

import uuid

from studies.fleet.environment.database import Database
from tests.fleet import Fleet

_QUESTIONS = """
    INSERT INTO questions (question_id, question_text, original_answer, status, asked_at, published_at)
    SELECT md5(%s || n), %s || ', question ' || n || ': what was asked before?', 'An answer.', 'completed',
           asked_at, asked_at
    FROM (SELECT n, now() - n * interval '24 hours' / %s AS asked_at FROM generate_series(1, %s) AS n) AS asked
"""

# A third is accepted at the first attempt, the others have three attempts.
_ATTEMPTS = """
    INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms, prompt_tokens,
                          completion_tokens, generated_at)
    SELECT question_id, attempt, 'benchmark', 'An answer.',
           (hashtext(question_id || attempt) & 1023) / 1023.0 * 0.3 + (tried = 1)::integer * 0.32,
           1000, 40, 5, asked_at + attempt * interval '1 second'
    FROM (SELECT *, CASE WHEN hashtext(question_id) %% 3 = 0 THEN 1 ELSE 3 END AS tried FROM questions) AS asked,
         generate_series(1, tried) AS attempt
    WHERE question_text LIKE %s
"""

_RESPONSES = """
    INSERT INTO responses (question_id, question_text, original_answer, llm_response, bert_score, quality, model,
                           processing_attempts, total_processing_time_ms, created_at)
    SELECT question_id, question_text, original_answer, 'An answer.', best,
           CASE WHEN tried = 1 THEN 'accepted' ELSE 'max_retries_reached' END, 'benchmark', tried, tried * 1000, ended
    FROM questions JOIN (
        SELECT question_id, max(bert_score) AS best, count(*) AS tried, max(generated_at) AS ended
        FROM attempts GROUP BY question_id
    ) AS attempted USING (question_id)
    WHERE question_text LIKE %s
"""


def unique_questions(count: int) -> tuple[str, list[str]]:
    """Returns new questions: their common beginning, and their texts."""
    beginning = f"Benchmark {uuid.uuid4().hex[:12]}"
    return beginning, [
        f"{beginning}, question {number}: at what temperature does water boil?" for number in range(count)
    ]


def fill(database: Database, wanted: int) -> int:
    """Writes completed questions of the last 24 hours, with attempts and answer, until `wanted` questions are stored.

    Also updates the statistics of the tables, as autovacuum would do later.

    Returns:
        The number of stored questions.
    """
    [(stored,)] = database.rows("SELECT count(*) FROM questions")
    missing = wanted - int(stored)
    if missing > 0:
        beginning, _ = unique_questions(0)
        database.rows(_QUESTIONS, beginning, beginning, missing, missing)
        # Separate statements, because parts of one statement do not see each other's writes.
        for statement in (_ATTEMPTS, _RESPONSES):
            database.rows(statement, f"{beginning}%")
        for table in ("questions", "responses", "attempts"):
            database.rows(f"ANALYZE {table}")
    return max(int(stored), wanted)


def delete_benchmark_rows(fleet: Fleet) -> None:
    """Deletes the studies' questions from the database, because they have answers of fakes."""
    asked = "SELECT question_id FROM questions WHERE question_text ~ '^Benchmark [0-9a-f]{12}, question [0-9]+: '"
    for name in ("responses", "attempts", "call_errors", "failed_questions", "questions"):
        fleet.sql(
            f"WITH gone AS (DELETE FROM {name} WHERE question_id IN ({asked}) RETURNING 1) SELECT count(*) FROM gone"
        )
