"""The columns of the history against the messages that bring it; the SQL itself is tried against the running fleet."""

import re
from pathlib import Path
from typing import get_args

import pytest

from pipeline.messages import Attempt, CallFailure, Quality, Reason
from storage_writer import store

TABLES = (Path(__file__).parents[3] / "sql" / "01_tables.sql").read_text()


@pytest.mark.parametrize(
    ("part", "table", "message", "left_out"),
    [("scored", "attempts", Attempt, set()), ("erred", "call_errors", CallFailure, {"retry_after_seconds"})],
)
def test_every_field_of_the_history_is_read_inserted_and_replaced(part, table, message, left_out):
    fields = set(message.model_fields) - left_out
    key = {"attempt", "retry"} & fields
    taken = re.search(rf"AS {part} \(([^)]*)\)", store._HISTORY)[1]
    assert {each.split()[0] for each in taken.split(",")} == fields
    inserted = re.search(rf"INSERT INTO {table} \(([^)]*)\)", store._HISTORY)[1]
    assert {each.strip() for each in inserted.split(",")} == fields | {"question_id"}
    replaced = re.search(rf"INSERT INTO {table}.*?SET \((.*?)\)\s*= \((.*?)\)", store._HISTORY, re.S)
    assert [each.strip() for each in replaced[2].split(",")] == [
        f"excluded.{each.strip()}" for each in replaced[1].split(",")
    ]
    assert {each.strip() for each in replaced[1].split(",")} == fields - key


def test_what_older_messages_lack_has_its_default():
    for name, default in (("reasoning_tokens", "0"), ("cause", "'other'"), ("counts_as_retry", "true"), ("times", "1")):
        assert f"coalesce({name}, {default})" in store._HISTORY
        assert re.search(rf"ADD COLUMN IF NOT EXISTS {name} \w+ NOT NULL DEFAULT {default};", TABLES), name


@pytest.mark.parametrize(
    ("constraint", "values"), [("failed_questions_reason_check", Reason), ("responses_quality_check", Quality)]
)
def test_the_tables_take_every_value_of_the_messages(constraint, values):
    listed = re.search(rf"ADD CONSTRAINT {constraint} CHECK \(\w+ IN \(([^)]*)\)", TABLES)[1]
    assert re.findall(r"'(\w+)'", listed) == list(get_args(values))
