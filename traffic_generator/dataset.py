"""The question set: a CSV file read strictly, so that a slip in it is told by line and never asked as a question."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_PATH = Path(__file__).parent / "data" / "questions.csv"
COLUMNS = ("topic", "question_text", "question_context", "original_answer")


class DatasetError(Exception):
    """The question set cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row. A field that is empty in the file is an empty string here; the text never is."""

    topic: str
    text: str
    context: str
    original_answer: str


def load(path: Path = DEFAULT_PATH) -> tuple[Question, ...]:
    """Reads a question set: UTF-8 (a byte order mark is allowed), comma separated, with a header.

    The columns of `COLUMNS` may stand in any order and beside others; white space around a value is dropped.

    Returns:
        The questions in the order of the file; at least one.

    Raises:
        DatasetError: The file is missing, unreadable or empty, lacks a column, or a row does not fit the header or
            has no question.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind the byte order mark, which holds no line feed.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}, line {line}: not UTF-8: {error.reason}") from error
    questions = tuple(_parse(text, path))
    if not questions:
        raise DatasetError(f"{path}, line 1: no question in the file")
    return questions


def _parse(text: str, path: Path) -> Iterator[Question]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for row in reader:
            # A quoted value may span lines: a row is named by its first one.
            first, line = line, reader.line_num + 1
            if not any(value.strip() for value in row):
                continue
            if header is None:
                header = _header(row, f"{path}, line {first}")
                continue
            if len(row) != len(header):
                raise DatasetError(f"{path}, line {first}: {len(row)} values where the header has {len(header)}")
            fields = dict(zip(header, (value.strip() for value in row), strict=True))
            if not fields["question_text"]:
                raise DatasetError(f"{path}, line {first}: question_text is empty")
            yield Question(
                topic=fields["topic"],
                text=fields["question_text"],
                context=fields["question_context"],
                original_answer=fields["original_answer"],
            )
    except csv.Error as error:
        raise DatasetError(f"{path}, line {line}: not a CSV row: {error}") from error


def _header(row: list[str], place: str) -> list[str]:
    header = [name.strip() for name in row]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DatasetError(f"{place}: no column {', '.join(missing)} (the header has {', '.join(header)})")
    return header
