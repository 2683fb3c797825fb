"""Questions as CSV (RFC 4180, UTF-8). Pure.

Spreadsheets run a cell that begins like a formula. Texts that do so (of people or of the model) get an apostrophe in
front, as OWASP advises; numbers are left alone, a negative score must stay one.
"""

import csv
import io
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
)

ROWS_AT_ONCE = 200
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the head, then the rows, some at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for number, row in enumerate(rows, start=1):
        writer.writerow([cell(row[name]) for name in COLUMNS])
        if number % ROWS_AT_ONCE == 0:
            yield _taken(buffer)
    yield _taken(buffer)


def cell(value: Any) -> Any:
    """Returns what stands in a cell: no formula, times in RFC 3339 (UTC), nothing for None."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return "'" + value
    return "" if value is None else value


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
