"""The counters of the dashboard, in a separate database on the fleet's server."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, create_engine, text

from tests.fleet import Fleet
from viz_service.queries import PostgresQueries
from viz_service.schemas import DeadLettersQuery, Filter, QuestionsQuery

SQL = Path(__file__).parents[2] / "sql"
EMPTY = "DELETE FROM attempts; DELETE FROM call_errors; DELETE FROM responses; DELETE FROM questions"
KINDS = ["questions", "calls", "cost", "answers", "score", "time", "first", "gain", "priced", "rejected", "prefix"]


@pytest.fixture(scope="module")
def database(fleet: Fleet) -> Iterator[Engine]:
    """An empty database with the schema, on the fleet's server."""
    name = f"counters_{uuid.uuid4().hex[:12]}"
    fleet.exec("postgres", "createdb", "-U", "user", name)
    try:
        password = quote(os.environ["POSTGRES_PASSWORD"])
        engine = create_engine(f"postgresql+psycopg2://user:{password}@postgres/{name}")
        files = [*sorted((SQL / "migrations").glob("*.sql")), SQL / "views.sql"]
        with engine.begin() as connection:
            for file in files:
                connection.connection.cursor().execute(file.read_text(encoding="utf-8"))
        yield engine
        engine.dispose()
    finally:
        fleet.exec("postgres", "dropdb", "-U", "user", "--force", name)


@pytest.fixture
def rows(database: Engine) -> PostgresQueries:
    """Returns queries on a database without questions."""
    run(database, EMPTY)
    return PostgresQueries(database, 0.32, 3)


def run(database: Engine, statement: str, **parameters: Any) -> None:
    with database.begin() as connection:
        connection.execute(text(statement), parameters)


def counted(database: Engine) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    with database.begin() as connection:
        found = connection.execute(text("SELECT * FROM dashboard_counted(NULL, :kinds)"), {"kinds": KINDS}).all()
    return {tuple(row[:4]): tuple(row[4:]) for row in found}


def ask(database: Engine, count: int, first: int = 0, status: str = "pending") -> None:
    run(
        database,
        """INSERT INTO questions (question_id, question_text, status, asked_at)
           SELECT md5(n::text), 'Question ' || n, :status, timestamptz '2026-03-04 12:00Z' + n * interval '1 second'
           FROM generate_series(CAST(:first AS integer), CAST(:last AS integer)) AS n""",
        first=first,
        last=first + count - 1,
        status=status,
    )


def answer(database: Engine, created_at: datetime | None = None) -> None:
    """Answers all pending questions in one statement, as storage-writer does, with the second of two attempts."""
    run(
        database,
        """WITH final AS (
               UPDATE questions SET status = 'completed' WHERE status = 'pending' RETURNING question_id, question_text
           ), kept AS (
               INSERT INTO responses (question_id, question_text, llm_response, bert_score, quality, model,
                                      processing_attempts, total_processing_time_ms, created_at)
               SELECT question_id, question_text, 'Because.', 0.25 + length(question_text) / 100.0, 'accepted', 'm', 2,
                      1000 + length(question_text), coalesce(:at, now())
               FROM final
           ), scored AS (
               INSERT INTO attempts (question_id, attempt, model, llm_response, bert_score, llm_latency_ms,
                                     prompt_tokens, completion_tokens, cost, generated_at)
               SELECT question_id, n, 'm', 'Because.', 0.125 * n + length(question_text) / 100.0, 1, 10, 20, 0.001,
                      coalesce(:at, now())
               FROM final CROSS JOIN generate_series(1, 2) AS n
               ON CONFLICT (question_id, attempt) DO UPDATE SET cost = excluded.cost
           )
           SELECT FROM final""",
        at=created_at,
    )


CHANGES = {
    "asked": "SELECT",
    "asked again": "UPDATE questions SET times_asked = times_asked + 2 WHERE question_text < 'Question 2'",
    "an answer is corrected": """UPDATE responses SET bert_score = 0.9, quality = 'max_retries_reached'
                                 WHERE question_text = 'Question 3'""",
    "an attempt is corrected": "UPDATE attempts SET bert_score = 0.9, cost = NULL WHERE attempt = 1",
    "only the judge rejects an answer": """UPDATE responses SET rejected_by = 'judge', quality = 'max_retries_reached'
                                           WHERE question_text IN ('Question 3', 'Question 5')""",
    "attempts were judged": """UPDATE attempts SET judge_model = 'j', judge_prompt_tokens = 90,
                                                   judge_completion_tokens = 1, judge_cost = 0.0005,
                                                   cost = CASE WHEN attempt = 1 THEN 0.001 END""",
    "attempts are written again": """INSERT INTO attempts SELECT * FROM attempts
                                     ON CONFLICT (question_id, attempt) DO UPDATE SET prompt_tokens = 7""",
    "a call failed": """INSERT INTO call_errors (question_id, attempt, retry, type, message, failed_at, prompt_tokens,
                                                 cost)
                        SELECT question_id, 1, 0, 'overload', 'busy', now(), 5, 0.002 FROM questions""",
    "an answer is deleted": "DELETE FROM responses WHERE question_text = 'Question 4'",
    "all of it is deleted": EMPTY,
}


@pytest.mark.parametrize("compact", [False, True], ids=["as written", "added up"])
@pytest.mark.parametrize("change", CHANGES)
def test_maintained_counts_equal_a_recount(database: Engine, rows: PostgresQueries, change: str, compact: bool) -> None:
    ask(database, 12)
    answer(database)
    ask(database, 5, first=20, status="failed")
    run(database, CHANGES[change])
    if compact:
        run(database, "SELECT dashboard_compact()")
    kept = counted(database)
    run(database, "SELECT dashboard_recount()")
    assert kept == counted(database)
    assert bool(kept) is (change != "all of it is deleted")


def test_rolled_back_changes_are_not_counted(database: Engine, rows: PostgresQueries) -> None:
    ask(database, 3)
    before = counted(database)
    with database.connect() as connection:
        connection.execute(text("DELETE FROM questions"))
        connection.execute(text("SELECT dashboard_compact()"))
        connection.rollback()
    assert counted(database) == before


def test_two_writers_do_not_wait_for_each_other(database: Engine, rows: PostgresQueries) -> None:
    statement = text("INSERT INTO questions (question_id, question_text) VALUES (:id, 'Why?')")
    with database.connect() as one, database.connect() as other:
        one.execute(statement, {"id": "1" * 32})
        one.execute(text("SELECT dashboard_compact()"))
        other.execute(text("SET LOCAL lock_timeout = '2s'"))
        other.execute(statement, {"id": "2" * 32})
        other.execute(text("SELECT dashboard_compact()"))
        other.commit()
        one.commit()
    assert rows.statistics().questions.total == 2


def test_statistics_equal_those_computed_from_the_rows(database: Engine, rows: PostgresQueries) -> None:
    ask(database, 12)
    answer(database)
    ask(database, 2, first=20)
    with database.begin() as connection:
        known = (
            connection.execute(
                text("""SELECT avg(bert_score) AS mean, min(bert_score) AS min, max(bert_score) AS max,
                        stddev_samp(bert_score) AS deviation,
                        percentile_cont(0.5) WITHIN GROUP (ORDER BY bert_score) AS median,
                        percentile_cont(0.95) WITHIN GROUP (ORDER BY total_processing_time_ms) AS p95 FROM responses""")
            )
            .mappings()
            .one()
        )
    found = rows.statistics()
    for name in ("mean", "min", "max", "deviation", "median"):
        assert getattr(found.scores, name) == pytest.approx(float(known[name]))
    assert found.total_processing_time_ms.p95 == pytest.approx(float(known["p95"]))
    assert (found.questions.pending, found.questions.completed, found.llm.calls) == (2, 12, 24)
    assert (found.llm.prompt_tokens, found.llm.completion_tokens) == (240, 480)
    assert float(found.llm.cost_per_accepted or 0) == pytest.approx(0.002)
    assert rows.what_if(0.3).questions == rows.histogram().count == rows.improvement().regenerated.count == 12
    assert rows.recent() == (12, 0)


def test_tokens_and_cost_include_the_judge_and_answers_that_it_rejects_are_counted(
    database: Engine, rows: PostgresQueries
) -> None:
    ask(database, 12)
    answer(database)
    for change in ("only the judge rejects an answer", "attempts were judged"):
        run(database, CHANGES[change])
    found = rows.statistics()
    assert (found.answers.max_retries_reached, found.answers.rejected_by_judge, found.answers.total) == (2, 2, 12)
    assert (found.llm.prompt_tokens, found.llm.completion_tokens) == (24 * 100, 24 * 21)
    assert found.llm.cost == 12 * Decimal("0.001") + 24 * Decimal("0.0005")
    run(database, "UPDATE responses SET rejected_by = NULL")
    assert rows.statistics().answers.rejected_by_judge == 0


def test_a_time_window_contains_only_newer_rows(database: Engine, rows: PostgresQueries) -> None:
    now = datetime.now(UTC)
    for number, age in enumerate((timedelta(minutes=30), timedelta(hours=5), timedelta(days=6), timedelta(days=40))):
        ask(database, 1, first=number)
        answer(database, now - age)
    for compact in (False, True):
        if compact:
            run(database, "SELECT dashboard_compact()")
        assert [rows.statistics(hours).answers.total for hours in (1, 6, 168, None)] == [1, 2, 3, 4]
        assert [rows.statistics(hours).scores.count for hours in (1, 6, 168, None)] == [1, 2, 3, 4]
        assert sum(each.count for each in rows.timeseries(168).points) == 3
        assert sum(each.count for each in rows.timeseries(None).points) == 4


@pytest.mark.parametrize("sort", ["newest", "oldest"])
def test_pages_continue_after_the_last_row(database: Engine, rows: PostgresQueries, sort: Any) -> None:
    ask(database, 12)
    listed_so_far: list[str] = []
    query = QuestionsQuery(sort=sort, limit=5)
    while True:
        found = rows.questions(query)
        listed_so_far += [each.question_text for each in found.questions]
        if not found.next:
            break
        # A new question shifts pages by number but not pages with `after`.
        query = QuestionsQuery(sort=sort, limit=5, page=query.page + 1, after=found.next)
    expected = [f"Question {number}" for number in range(12)]
    assert listed_so_far == (expected if sort == "oldest" else expected[::-1])
    assert (found.total, found.total_is_minimum) == (12, False)


@pytest.mark.parametrize("text_", ["", "uestio"])
@pytest.mark.parametrize("sort", ["newest", "oldest", "most-asked", "best", "worst", "slowest"])
def test_pages_and_export_have_all_rows_in_the_same_order(
    database: Engine, rows: PostgresQueries, sort: Any, text_: str
) -> None:
    ask(database, 12)
    answer(database)
    ask(database, 3, first=100)
    pages = [rows.questions(QuestionsQuery(sort=sort, text=text_, limit=4, page=page)) for page in (1, 2, 3, 4)]
    listed = [each.question_id for page in pages for each in page.questions]
    assert len(set(listed)) == len(listed) == 15
    assert [page.has_next for page in pages] == [True, True, True, False]
    assert listed == [row["question_id"] for row in rows.export(Filter(sort=sort, text=text_))]


def test_an_export_includes_changed_questions_and_skips_deleted_ones(
    database: Engine, rows: PostgresQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viz_service.queries.EXPORTED_AT_ONCE", 2)
    ask(database, 6)
    reading = rows.export(Filter(sort="oldest"))
    first = next(iter(reading))
    run(database, "UPDATE questions SET asked_at = now(), status = 'failed' WHERE question_text = 'Question 3'")
    run(database, "DELETE FROM questions WHERE question_text = 'Question 4'")
    texts = [first["question_text"], *(row["question_text"] for row in reading)]
    assert texts == [f"Question {number}" for number in (0, 1, 2, 3, 5)]


@pytest.mark.parametrize("at", ["0", "2026-03-04T12:00:05Z", "2026-03-05T11:00:05+23:00", "9999-12-31T23:59:59Z"])
def test_every_valid_time_is_accepted_in_after(rows: PostgresQueries, at: str) -> None:
    assert rows.questions(QuestionsQuery(after=f"{at}~{'a' * 32}")).questions == []
    assert rows.dead_letters(DeadLettersQuery(after=f"{at}~{2**63 - 1}")).has_next is False


@pytest.fixture
def letters(database: Engine) -> Iterator[None]:
    """Inserts twelve dead letters, the newest last; two at a time have the same time."""
    run(
        database,
        """INSERT INTO dead_letters (topic, partition, topic_offset, source_topic, source_partition, source_offset,
                                     reason, error, value, value_bytes, question_id, failed_at, received_at)
           SELECT 'llm-responses-error-permanent', 0, n, 'questions-pending', 1, 10 * n, 'malformed', 'not JSON',
                  decode('fffe7b', 'hex') || repeat('x', 3000)::bytea, 4000, md5(n::text), now(),
                  timestamptz '2026-03-04 12:00Z' + n / 2 * interval '1 second'
           FROM generate_series(0, 11) AS n""",
    )
    yield
    run(database, "DELETE FROM dead_letters")


@pytest.mark.usefixtures("letters")
def test_dead_letters_continue_after_the_last_row(database: Engine, rows: PostgresQueries) -> None:
    listed_so_far: list[int] = []
    query = DeadLettersQuery(limit=5)
    while True:
        found = rows.dead_letters(query)
        assert (found.total, found.total_is_minimum) == (12, False)
        listed_so_far += [each.offset for each in found.dead_letters]
        if not found.next:
            break
        query = DeadLettersQuery(limit=5, page=query.page + 1, after=found.next)
    assert listed_so_far == list(range(11, -1, -1))
    by_number = [rows.dead_letters(DeadLettersQuery(limit=5, page=page)) for page in (1, 2, 3)]
    assert [each.offset for page in by_number for each in page.dead_letters] == listed_so_far
    assert [page.has_next for page in by_number] == [True, True, False]


@pytest.mark.usefixtures("letters")
def test_a_dead_letter_has_source_question_and_preview(database: Engine, rows: PostgresQueries) -> None:
    ask(database, 1, first=11)
    newest, older = rows.dead_letters(DeadLettersQuery(limit=2)).dead_letters
    assert (newest.source_topic, newest.source_partition, newest.source_offset) == ("questions-pending", 1, 110)
    assert newest.preview == "\ufffd\ufffd{" + "x" * 497
    assert (newest.value_bytes, newest.kept_bytes, newest.whole) == (4000, 3003, False)
    assert (newest.question_text, older.question_text) == ("Question 11", None)


@pytest.mark.usefixtures("letters")
def test_counting_of_dead_letters_stops_at_the_limit(rows: PostgresQueries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viz_service.queries.COUNTED_ROWS", 11)
    found = rows.dead_letters(DeadLettersQuery())
    assert (found.total, found.total_is_minimum) == (11, True)
