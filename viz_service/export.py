"""Questions as CSV (RFC 4180, UTF-8). Pure functions.

Spreadsheets evaluate cells that begin like a formula. Such texts, of users or of the model, get a leading apostrophe,
as OWASP advises. Numbers stay unchanged: a negative score must stay a number.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

COLUMNS = (
    "question_id",
    "question_text",
    "question_context",
    "original_answer",
    "topic",
    "status",
    "times_asked",
    "asked_at",
    "llm_response",
    "quality",
    "bert_score",
    "bert_precision",
    "bert_recall",
    "processing_attempts",
    "total_processing_time_ms",
    "model",
    "scorer",
    "completed_at",
    "references",
    "reference_index",
    "unscored_reason",
    "warnings",
    "judge_probability",
    "judge_problem",
    "judge_model",
    "rejected_by",
)

ROWS_AT_ONCE = 200
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the header, then the rows in blocks."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows, start=1):
        writer.writerow([cell(row[name]) for name in COLUMNS])
        if number % ROWS_AT_ONCE == 0:
            yield _drain(buffer)
    yield _drain(buffer)


def cell(value: Any) -> Any:
    """Returns the content of a cell: formulas escaped, times in RFC 3339 (UTC), texts as a JSON array.

    None and an empty list become an empty text.
    """
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else value


def _drain(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
