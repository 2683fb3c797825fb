"""The question set: a file read strictly, so that a slip in it is told by line and never asked as a question.

It is read as a stream and only a sample of a large set is kept, so the memory does not grow with the file.
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
COLUMNS = ("topic", "question_text", "question_context", "original_answer")
SAMPLE = 10_000
# Which questions a sample holds is up to the set, not to a run: runs of different seeds meet in the cache.
SAMPLE_SEED = 1

# In the order of the class index, from 1: classes.txt of the data set.
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
# Far above any question: what has no line end so long is no text, and is not read into memory.
LINE_BYTES = 1 << 20


class DatasetError(Exception):
    """The question set cannot be used; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row. A field that is empty in the file is an empty string here; the text never is."""

    topic: str
    text: str
    context: str
    original_answer: str


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """What a file gave.

    Attributes:
        questions: Distinct ones, at least one: all in the order of the file, or a sample of them.
        rows: Questions in the file, repeated ones counted each time.
        skipped: Rows without a question, in the format that allows them.
    """

    questions: tuple[Question, ...]
    rows: int
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.questions)


def load(path: Path = DEFAULT_PATH, sample: int = SAMPLE) -> QuestionSet:
    """Reads a question set in UTF-8 (a byte order mark is allowed), compressed by gzip or not.

    The content tells the format:

    - CSV with a header: the columns of `COLUMNS` in any order and beside others.
    - JSON Lines: objects with `question_text` and, if they like, the other `COLUMNS` (null: none), beside others.
    - Yahoo! Answers: CSV without a header of class index (1 to 10), title, content and best answer, where a backslash
      and an `n` stand for a line feed (readme of the Yahoo! Answers topic classification data set, version 2, of Zhang,
      Zhao, LeCun: Character-level Convolutional Networks for Text Classification, NIPS 2015). Rows without a title
      are skipped and counted: nobody can mend a file of 1.4 million rows by hand.

    White space around a value is dropped. A question that comes again is the first one.

    Args:
        path: The file; `-` is standard input.
        sample: Of a file with more questions than this, so many are kept, each with the same chance.

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
    """Keeps `size` items of a stream, each with the same chance, in memory for `size` (algorithm R of Vitter: Random
    Sampling with a Reservoir, ACM Transactions on Mathematical Software 11(1), 1985).

    Returns:
        The sample, which is the whole stream in its order if that is no longer than `size`; and the stream's length.

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
    # A look ahead, for a pipe cannot be read again.
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if raw.peek(2).startswith(GZIP_MAGIC) else raw


class _Rows:
    """The questions of a file, once, in its order."""

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
                # A quoted value may span lines: a row is named by its first one.
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
        # JSON can escape half of a pair, which is no character and cannot be sent.
        raise DatasetError(f"{place} is not a text: {error.reason}") from error
    return value.strip()
