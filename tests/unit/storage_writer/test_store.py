"""The store's columns match the fields of the messages; the SQL itself is tested by the system tests."""

import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from pipeline import topics
from pipeline.messages import Attempt, DeadLetter, ErrorRecord, Judgement, Quality, Reason, RecordPosition
from storage_writer import store
from tests.unit import samples

MIGRATIONS = Path(__file__).parents[3] / "sql" / "migrations"
TABLES = (MIGRATIONS / "0001_tables.sql").read_text()
LETTER = DeadLetter.of(b"key", b"{", samples.SOURCE, "not JSON", samples.NOW)


JUDGE = {f"judge_{name}" for name in Judgement.model_fields}
"""Columns of the judgement of an attempt, which is an object in messages."""


@pytest.mark.parametrize(
    ("part", "table", "message", "left_out"),
    [("scored", "attempts", Attempt, set()), ("erred", "call_errors", ErrorRecord, {"retry_after_seconds"})],
)
def test_every_field_of_the_history_is_read_inserted_and_replaced(part, table, message, left_out):
    fields = set(message.model_fields) - left_out
    key = {"attempt", "retry"} & fields
    taken = re.search(rf"AS {part} \(([^)]*)\)", store._HISTORY)[1]
    assert {each.split()[0] for each in taken.split(",")} == fields
    if "judgement" in fields:
        fields = fields - {"judgement"} | JUDGE
    inserted = re.search(rf"INSERT INTO {table} \(([^)]*)\)", store._HISTORY)[1]
    assert {each.strip() for each in inserted.split(",")} == fields | {"question_id"}
    replaced = re.search(rf"INSERT INTO {table}.*?SET \((.*?)\)\s*= \((.*?)\)", store._HISTORY, re.S)
    assert [each.strip() for each in replaced[2].split(",")] == [
        f"excluded.{each.strip()}" for each in replaced[1].split(",")
    ]
    assert {each.strip() for each in replaced[1].split(",")} == fields - key


def test_every_field_of_a_judgement_is_stored_and_read_back():
    stored = re.findall(r"judgement ->> '(\w+)'", store._HISTORY)
    assert [f"judge_{name}" for name in stored] == re.findall(r"excluded\.(judge_\w+)", store._HISTORY)
    read = re.search(r"WHEN judge_model IS NOT NULL THEN json_build_object\((.*?)\) END", str(store._UNPUBLISHED), re.S)
    assert dict(re.findall(r"'(\w+)', (judge_\w+)", read[1])) == {
        name: f"judge_{name}" for name in Judgement.model_fields
    }


def test_fields_that_older_messages_lack_have_a_default():
    for name, default in (("reasoning_tokens", "0"), ("cause", "'other'"), ("counts_as_retry", "true"), ("times", "1")):
        assert f"coalesce({name}, {default})" in store._HISTORY
        assert re.search(rf"ADD COLUMN IF NOT EXISTS {name} \w+ NOT NULL DEFAULT {default};", TABLES), name


@pytest.mark.parametrize(
    ("constraint", "values"), [("failed_questions_reason_check", Reason), ("responses_quality_check", Quality)]
)
def test_check_constraints_of_the_tables_allow_every_value_of_the_messages(constraint, values):
    migrations = "".join(path.read_text() for path in sorted(MIGRATIONS.glob("*.sql")))
    *_, listed = re.findall(rf"ADD CONSTRAINT {constraint} CHECK \(\w+ IN \(([^)]*)\)", migrations)
    assert set(get_args(values)) <= set(re.findall(r"'(\w+)'", listed))


class FakePool:
    """Fake connection pool; `answer` is called in place of the driver with each statement."""

    def __init__(self, answer):
        self.answer = answer

    @contextmanager
    def begin(self):
        yield self

    def execute(self, statement, given=None):
        return self.answer(statement, given)


def answer_with(*rows):
    """Returns an answer for statements: the lock is free and the result has these rows."""
    result = SimpleNamespace(all=lambda: rows)
    return lambda _statement, _given: SimpleNamespace(scalar_one=lambda: True, mappings=lambda: result)


def broken(_statement, _given):
    raise ValueError("zip() argument 2 is shorter than argument 1")


@pytest.mark.parametrize(
    "write",
    [
        lambda to: to.note(samples.question()),
        lambda to: to.fail(samples.question(), "not_retryable", "busy", samples.NOW),
        lambda to: to.fail_known(samples.question().question_id, "malformed", "busy", samples.NOW),
        lambda to: to.keep_dead_letter(samples.SOURCE, LETTER, None),
    ],
    ids=["note", "fail", "fail_known", "keep_dead_letter"],
)
def test_an_internal_error_while_writing_is_not_reported_as_an_unreadable_message(write):
    with pytest.raises(ValueError, match="zip"):
        write(store.Store(FakePool(broken)))


def test_an_error_of_the_caller_inside_the_outbox_is_raised_unchanged():
    with pytest.raises(ValueError, match="ours"), store.Store(FakePool(answer_with())).outbox(15, 200):
        raise ValueError("ours")


def row(**changes):
    names = ("question_id", "question_text", "question_context", "original_answer", "asked_at")
    asked = {name: getattr(samples.question(), name) for name in names}
    return asked | {"further_references": [], "best": None, "attempts": None, "errors": None} | changes


def test_an_invalid_row_in_the_outbox_is_skipped():
    pool = FakePool(answer_with(row(question_id="by hand"), row()))
    with store.Store(pool).outbox(15, 200) as outbox:
        assert outbox.questions == [samples.question()]


def test_a_question_is_published_again_with_all_references():
    pool = FakePool(answer_with(row(further_references=["Second.", "Third."])))
    with store.Store(pool).outbox(15, 200) as outbox:
        assert outbox.questions == [samples.question(references=("Second.", "Third."))]


@pytest.mark.parametrize(
    ("value", "kept", "size"), [(b"{", b"{", 1), (b"x" * 70_000, b"x" * 65_536, 70_000), (None, None, None)]
)
def test_a_dead_letter_keeps_64_kb_of_its_value_and_the_original_size(value, kept, size):
    given = []
    pool = FakePool(lambda _statement, row: given.append(row))
    letter = DeadLetter.of(b"key \xff", value, samples.SOURCE, "not \x00 JSON", samples.NOW)
    place = RecordPosition(topic=topics.PERMANENT, partition=0, offset=4)
    store.Store(pool).keep_dead_letter(place, letter, None)
    [row] = given
    assert (row["key"], row["value"], row["value_bytes"]) == (b"key \xff", kept, size)
    assert (row["topic"], row["topic_offset"], row["source_topic"]) == (topics.PERMANENT, 4, "questions-pending")
    assert row["error"] == "not \ufffd JSON"
