"""The question set. The file is validated strictly: an error names its line, and is never asked as a question.

The file is streamed and only a sample of a large set is kept, so that memory does not grow with the file.
"""

import csv
import gzip
import json
import random
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from pipeline.question import question_id

DEFAULT_PATH = Path(__file__).parent / "data" / "questions.csv"
TOPIC_LENGTH = 100
"""Longest topic that the service accepts."""
COLUMNS = ("topic", "question_text", "question_context", "original_answer")
SAMPLE = 10_000
# A sample depends only on the set, not on the seed of a run, so that runs share cached answers.
SAMPLE_SEED = 1

# In the order of the class index, from 1, as in classes.txt of the data set.
YAHOO_TOPICS = (
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
    "Sports",
    "Business & Finance",
    "Entertainment & Music",
    "Family & Relationships",
    "Politics & Government",
)

GZIP_MAGIC = b"\x1f\x8b"
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
# Far longer than any question. A longer line is not text and must not be read into memory.
LINE_BYTES = 1 << 20


class DatasetError(Exception):
    """The question set cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row. Empty fields of the file are empty strings; `text` is never empty."""

    topic: str
    text: str
    context: str
    original_answer: str

    def body(self) -> dict[str, str]:
        """Returns the JSON body that asks the question, without empty fields."""
        fields = {
            "question_text": self.text,
            "question_context": self.context,
            "original_answer": self.original_answer,
            "topic": self.topic[:TOPIC_LENGTH],
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a file.

    Attributes:
        questions: Distinct questions, at least one: all in the order of the file, or a sample.
        rows: Number of questions in the file, including repeated ones.
        skipped: Number of rows without a question, in the format that allows them.
    """

    questions: tuple[Question, ...]
    rows: int
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.questions)


def load(path: Path = DEFAULT_PATH, sample: int = SAMPLE) -> QuestionSet:
    """Reads a question set in UTF-8 (a byte order mark is allowed), compressed by gzip or not.

    The format is detected from the content:

    - CSV with a header: the columns of `COLUMNS` in any order; other columns are ignored.
    - JSON Lines: objects with `question_text` and optionally the other `COLUMNS`, which may be null; other fields are
      ignored.
    - Yahoo! Answers: CSV without a header, with class index (1 to 10), title, content and best answer, in which a
      backslash and an `n` mean a line feed (readme of the Yahoo! Answers topic classification data set, version 2, of
      Zhang, Zhao, LeCun: Character-level Convolutional Networks for Text Classification, NIPS 2015). Rows without a
      title are skipped and counted, because a file of 1.4 million rows cannot be corrected by hand.

    White space around a value is removed. Repeated questions are dropped.

    Args:
        path: The file; `-` is standard input.
        sample: Number of questions to keep of a larger file, each with the same probability.

    Raises:
        DatasetError: The file is missing, unreadable or empty, lacks a column, or a row does not fit the format or
            has no question.
    """
    try:
        with _opened(path) as raw:
            rows = _Rows(path, _decompressed(raw))
            kept, count = reservoir(rows, sample, SAMPLE_SEED)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: cannot be decompressed: {error}") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error
    if not kept:
        raise DatasetError(f"{path}, line 1: no question in the file")
    distinct: dict[str, Question] = {}
    for question in kept:
        distinct.setdefault(question_id(question.text, question.context), question)
    return QuestionSet(tuple(distinct.values()), count, rows.skipped)


def reservoir(questions: Iterable[Question], size: int, seed: int) -> tuple[list[Question], int]:
    """Keeps `size` items of a stream, each with the same probability, in memory for `size` (algorithm R of Vitter:
    Random Sampling with a Reservoir, ACM Transactions on Mathematical Software 11(1), 1985).

    Returns:
        The sample, which is the whole stream in order if it is not longer than `size`; and the length of the stream.

    Raises:
        ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"a sample of {size}")
    chance = random.Random(seed)
    kept: list[Question] = []
    count = 0
    for count, question in enumerate(questions, start=1):
        if count <= size:
            kept.append(question)
        elif (place := int(chance.random() * count)) < size:
            kept[place] = question
    return kept, count


def _opened(path: Path) -> AbstractContextManager[BufferedReader]:
    if str(path) == "-":
        return nullcontext(cast(BufferedReader, sys.stdin.buffer))
    return path.open("rb")


def _decompressed(raw: BufferedReader) -> IO[bytes]:
    # Peeks, because a pipe cannot be read again.
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if raw.peek(2).startswith(GZIP_MAGIC) else raw


class _Rows:
    """Iterates over the questions of a file, in order, once."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.skipped = 0
        self._path = path
        self._stream = stream

    def __iter__(self) -> Iterator[Question]:
        lines = self._lines()
        first = next((line for line in lines if line.strip()), "")
        blank_lines = self._line - 1
        rest = _chain(first, lines)
        if first.lstrip().startswith("{"):
            return self._from_json(rest)
        return self._from_csv(rest, blank_lines)

    def _lines(self) -> Iterator[str]:
        self._line = 1
        while line := self._stream.readline(LINE_BYTES):
            if len(line) == LINE_BYTES:
                raise DatasetError(f"{self._place(self._line)}: longer than {LINE_BYTES} bytes")
            if self._line == 1 and line[TAR_MAGIC_AT:].startswith(TAR_MAGIC):
                raise DatasetError(f"{self._path}: an archive of files: unpack it and name one of them")
            try:
                yield line.decode("utf-8-sig" if self._line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DatasetError(f"{self._place(self._line)}: not UTF-8: {error.reason}") from error
            self._line += 1

    def _place(self, line: int) -> str:
        return f"{self._path}, line {line}"

    def _from_json(self, lines: Iterable[str]) -> Iterator[Question]:
        for line in lines:
            if not line.strip():
                continue
            place = self._place(self._line)
            try:
                fields = json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{place}: not a JSON object: {error}") from error
            if not isinstance(fields, dict):
                raise DatasetError(f"{place}: not a JSON object")
            yield _question({name: _text(fields.get(name), f"{place}: {name}") for name in COLUMNS}, place)

    def _from_csv(self, lines: Iterable[str], blank_lines: int) -> Iterator[Question]:
        reader = csv.reader(lines, strict=True)
        header: list[str] | None = None
        yahoo = False
        line = blank_lines + 1
        try:
            for row in reader:
                # A quoted value may span lines; errors name the first line of a row.
                first, line = line, blank_lines + reader.line_num + 1
                if not any(value.strip() for value in row):
                    continue
                if header is None and not yahoo:
                    yahoo = len(row) == len(COLUMNS) and row[0].strip().isdecimal()
                    if not yahoo:
                        header = _header(row, self._place(first))
                        continue
                if header is not None:
                    yield _from_row(header, row, self._place(first))
                elif (question := _from_yahoo(row, self._place(first))) is not None:
                    yield question
                else:
                    self.skipped += 1
        except csv.Error as error:
            raise DatasetError(f"{self._place(line)}: not a CSV row: {error}") from error


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _header(row: list[str], place: str) -> list[str]:
    header = [name.strip() for name in row]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DatasetError(f"{place}: no column {', '.join(missing)} (the header has {', '.join(header)})")
    return header


def _from_row(header: list[str], row: list[str], place: str) -> Question:
    if len(row) != len(header):
        raise DatasetError(f"{place}: {len(row)} values where the header has {len(header)}")
    return _question(dict(zip(header, (value.strip() for value in row), strict=True)), place)


def _from_yahoo(row: list[str], place: str) -> Question | None:
    if len(row) != len(COLUMNS):
        raise DatasetError(f"{place}: {len(row)} values where Yahoo! Answers has {len(COLUMNS)}")
    index, *texts = row
    if not (index.strip().isdecimal() and 1 <= int(index) <= len(YAHOO_TOPICS)):
        raise DatasetError(f"{place}: {index!r} is no class from 1 to {len(YAHOO_TOPICS)}")
    title, content, answer = (text.replace("\\n", "\n").strip() for text in texts)
    return Question(YAHOO_TOPICS[int(index) - 1], title, content, answer) if title else None


def _question(fields: dict[str, str], place: str) -> Question:
    if not fields["question_text"]:
        raise DatasetError(f"{place}: question_text is empty")
    return Question(
        topic=fields["topic"],
        text=fields["question_text"],
        context=fields["question_context"],
        original_answer=fields["original_answer"],
    )


def _text(value: Any, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DatasetError(f"{place} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can contain half of a surrogate pair, which is not a character and cannot be sent.
        raise DatasetError(f"{place} is not a text: {error.reason}") from error
    return value.strip()
