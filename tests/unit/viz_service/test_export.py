"""CSV export: correct for readers and safe for spreadsheets."""

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from viz_service import export

JUDGE = ("judge_probability", "judge_problem", "judge_model", "rejected_by")


def parsed(*rows: dict[str, object]) -> list[dict[str, str]]:
    blank = dict.fromkeys(export.COLUMNS)
    text = "".join(export.lines([blank | row for row in rows]))
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_texts_that_look_like_formulas_are_escaped(start: str) -> None:
    [row] = parsed({"llm_response": f"{start}HYPERLINK(1)"})
    assert row["llm_response"] == f"'{start}HYPERLINK(1)"


def test_other_texts_and_numbers_are_not_changed() -> None:
    text = 'A "quoted", long\nanswer = 3'
    [row] = parsed({"llm_response": text, "bert_score": Decimal("-0.25"), "processing_attempts": 2})
    assert (row["llm_response"], row["bert_score"], row["processing_attempts"]) == (text, "-0.25", "2")


def test_times_are_rfc_3339_and_missing_values_are_empty() -> None:
    [row] = parsed({"asked_at": datetime(2026, 3, 4, 12, 30, tzinfo=UTC)})
    assert (row["asked_at"], row["model"]) == ("2026-03-04T12:30:00.000Z", "")


def test_references_are_a_json_array() -> None:
    [several, single] = parsed(
        {"references": ["=1+1", 'A "b", é'], "reference_index": 2}, {"references": [], "reference_index": 0}
    )
    assert (json.loads(several["references"]), several["reference_index"]) == (["=1+1", 'A "b", é'], "2")
    assert (single["references"], single["reference_index"]) == ("", "0")


def test_warnings_are_a_json_array() -> None:
    [warned, unscored] = parsed(
        {"warnings": ["truncated", "repetition"]}, {"unscored_reason": "other_language", "warnings": []}
    )
    assert (json.loads(warned["warnings"]), warned["unscored_reason"]) == (["truncated", "repetition"], "")
    assert (unscored["warnings"], unscored["unscored_reason"]) == ("", "other_language")


def test_what_the_judge_says_has_columns() -> None:
    [rejected, unjudged] = parsed(
        {"judge_probability": 0.25, "judge_problem": "wrong", "judge_model": "=j", "rejected_by": "judge"}, {}
    )
    assert [rejected[name] for name in JUDGE] == ["0.25", "wrong", "'=j", "judge"]
    assert [unjudged[name] for name in JUDGE] == [""] * 4


def test_many_rows_are_written_completely_in_parts() -> None:
    blank = dict.fromkeys(export.COLUMNS)
    parts = list(export.lines(blank | {"question_id": str(number)} for number in range(export.ROWS_AT_ONCE + 1)))
    assert len(parts) == 2
    assert "".join(parts).count("\r\n") == export.ROWS_AT_ONCE + 2


def test_an_export_without_rows_has_a_header() -> None:
    assert "".join(export.lines([])).strip().split(",") == list(export.COLUMNS)
