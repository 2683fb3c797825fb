import gzip
import os
import re
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.question import normalise, question_id
from storage_service.schemas import MAX_TOPIC_CHARACTERS
from traffic_generator import dataset
from traffic_generator.dataset import DatasetError, Question

HEADER = b"topic,question_text,question_context,original_answer\n"
SENTENCE_END = re.compile(r"[.!?][\"\u201d)]?(?=\s|$)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.csv"


def test_rows_are_read_in_their_order(path: Path) -> None:
    path.write_bytes(HEADER + b'science, Why? ,,Because.\n\nlife,"Who, then?","On two\nlines",\n')
    assert dataset.load(path).questions == (
        Question("science", "Why?", "", "Because."),
        Question("life", "Who, then?", "On two\nlines", ""),
    )


def test_columns_may_have_any_order_and_extra_columns_are_ignored(path: Path) -> None:
    path.write_bytes(b"original_answer,extra,question_context,question_text,topic\nBecause.,x,,Why?,science\n")
    assert dataset.load(path).questions == (Question("science", "Why?", "", "Because."),)


def test_a_byte_order_mark_and_dos_line_ends_are_accepted(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + b"science,Why?,,Because.\r\n")
    assert dataset.load(path).questions[0].original_answer == "Because."


GOOD = b"science,Why?,,Because.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "line 1: no question in the file", id="empty"),
        pytest.param(HEADER, "line 1: no question in the file", id="header only"),
        pytest.param(
            b"topic,question_text,answer\na,b,c\n",
            "line 1: no column question_context, original_answer",
            id="missing columns",
        ),
        pytest.param(HEADER + GOOD + b"science,Why?\n", "line 3: 2 values where the header has 4", id="short row"),
        pytest.param(HEADER + b'a,"b\nc"\n', "line 2: 2 values where the header has 4", id="row over two lines"),
        pytest.param(HEADER + GOOD + b"a,b,c,d,e\n", "line 3: 5 values where the header has 4", id="long row"),
        pytest.param(HEADER + b'a,b,"c\nc",d\na,,c,d\n', "line 4: question_text is empty", id="no question"),
        pytest.param(HEADER + GOOD + b"science,Wh\xff?,,Yes.\n", "line 3: not UTF-8", id="encoding"),
        pytest.param(b"\xef\xbb\xbf" + HEADER + b"\xff", "line 2: not UTF-8", id="encoding after a byte order mark"),
        pytest.param(HEADER + GOOD + b'a,"b,c,d\n', "line 3: not a CSV row", id="open quote"),
    ],
)
def test_an_invalid_row_is_reported_with_file_and_line(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        dataset.load(path)
    assert f"{path}, {message}" in str(caught.value)


def test_a_missing_file_is_reported(path: Path) -> None:
    with pytest.raises(DatasetError, match=r"set\.csv: cannot be read: No such file"):
        dataset.load(path)


# JSON Lines.


def test_json_lines_use_the_field_names_of_the_api(path: Path) -> None:
    path.write_text(
        '\n{"question_text": " Why? ", "original_answer": "Because.", "score": 3}\n'
        '{"question_text": "Who?", "question_context": null, "topic": "life"}\n',
        encoding="utf-8",
    )
    assert dataset.load(path).questions == (Question("", "Why?", "", "Because."), Question("life", "Who?", "", ""))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not a JSON object"),
        ("[]", "line 2: not a JSON object"),
        ("{}", "line 2: question_text is empty"),
        ('{"question_text": 3}', "line 2: question_text is not a text"),
        ('{"question_text": "Why?", "topic": []}', "line 2: topic is not a text"),
        (r'{"question_text": "\ud800"}', "line 2: question_text is not a text: surrogates not allowed"),
    ],
)
def test_an_invalid_json_line_is_reported_with_its_line(path: Path, line: str, message: str) -> None:
    path.write_text('{"question_text": "Why?"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        dataset.load(path)
    assert f"{path}, {message}" in str(caught.value)


# Yahoo! Answers.


def yahoo_line(index: int, *texts: str) -> str:
    escaped = (text.replace('"', '""').replace("\n", "\\n") for text in texts)
    return ",".join(f'"{value}"' for value in (str(index), *escaped)) + "\n"


def test_the_yahoo_format_has_no_header_and_two_kinds_of_escapes(path: Path) -> None:
    path.write_text(
        r""""5","why doesn't an optical mouse work on a glass table?","or on some tables?","It says ""no"".\nTwice."
"10","What is ""best""?","","Nothing"
""",
        encoding="utf-8",
    )
    assert dataset.load(path).questions == (
        Question(
            "Computers & Internet",
            "why doesn't an optical mouse work on a glass table?",
            "or on some tables?",
            'It says "no".\nTwice.',
        ),
        Question("Politics & Government", 'What is "best"?', "", "Nothing"),
    )


# Any UTF-8 text except surrounding white space, which is trimmed, and backslashes, which could begin an escape.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\\"), min_size=1, max_size=60).filter(
    lambda text: text == text.strip() and text
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 10), texts, texts, texts), min_size=1, max_size=5), st.booleans())
def test_any_text_is_read_back_from_the_yahoo_format(
    path: Path, rows: list[tuple[int, str, str, str]], compressed: bool
) -> None:
    content = "".join(yahoo_line(*row) for row in rows).encode()
    path.write_bytes(gzip.compress(content) if compressed else content)
    read = dataset.load(path)
    distinct = {question_id(text, context) for _, text, context, _ in rows}
    assert (read.rows, len(read)) == (len(rows), len(distinct))
    expected = [Question(dataset.YAHOO_TOPICS[index - 1], *texts) for index, *texts in rows]
    assert read.questions[0] == expected[0]
    assert set(read.questions) <= set(expected)


def test_rows_without_a_title_are_skipped_and_counted(path: Path) -> None:
    path.write_text(yahoo_line(1, "Why?", "", "So.") + yahoo_line(2, " \n", "Tell me.", "No."), encoding="utf-8")
    read = dataset.load(path)
    assert (len(read), read.rows, read.skipped) == (1, 1, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"11","Why?","",""\n', "line 2: '11' is no class from 1 to 10"),
        ('"0","Why?","",""\n', "line 2: '0' is no class from 1 to 10"),
        ('"x","Why?","",""\n', "line 2: 'x' is no class from 1 to 10"),
        ('"1","Why?",""\n', "line 2: 3 values where Yahoo! Answers has 4"),
        ('"1","Why?\n', "line 2: not a CSV row"),
    ],
)
def test_an_invalid_row_of_the_yahoo_format_is_reported_with_its_line(path: Path, line: str, message: str) -> None:
    path.write_text(yahoo_line(1, "Why?", "", "So.") + line, encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        dataset.load(path)
    assert f"{path}, {message}" in str(caught.value)


# Compressed, large and invalid files.


def test_a_compressed_file_is_recognised_by_its_content(path: Path) -> None:
    path.write_bytes(gzip.compress(HEADER + GOOD))
    assert dataset.load(path).questions == (Question("science", "Why?", "", "Because."),)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]) -> None:
    reader, writer = os.pipe()  # a pipe cannot be read twice
    os.write(writer, pack(HEADER + GOOD))
    os.close(writer)
    with os.fdopen(reader) as piped:
        monkeypatch.setattr("sys.stdin", piped)
        assert dataset.load(Path("-")).questions == (Question("science", "Why?", "", "Because."),)


def test_a_truncated_compressed_file_is_reported(path: Path) -> None:
    path.write_bytes(gzip.compress(HEADER + GOOD * 100)[:-12])
    with pytest.raises(DatasetError, match="cannot be decompressed"):
        dataset.load(path)


def test_an_archive_is_reported_with_a_remedy(path: Path) -> None:
    inner = path.with_name("train.csv")
    inner.write_bytes(HEADER + GOOD)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(inner, "train.csv")
    with pytest.raises(DatasetError, match="an archive of files: unpack it"):
        dataset.load(path)


def test_a_file_without_line_ends_is_not_read_into_memory(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse: takes no room
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="line 1: longer than 1048576 bytes"):
            dataset.load(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_only_the_first_of_equal_questions_is_kept(path: Path) -> None:
    path.write_bytes(HEADER + b"a,Why?,,First.\nb,How?,,So.\nc, WHY? ,,Second.\nd,Why?,Else,Third.\n")
    read = dataset.load(path)
    assert [question.original_answer for question in read.questions] == ["First.", "So.", "Third."]
    assert read.rows == 4


def write_numbers(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(yahoo_line(1, f"Question {number}?", "", "x" * 200) for number in range(count))


def peak_memory(path: Path, sample: int) -> int:
    tracemalloc.start()
    try:
        dataset.load(path, sample)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_depends_on_the_sample_and_not_on_the_file(path: Path) -> None:
    write_numbers(path, 1_000)
    small = peak_memory(path, sample=500)
    write_numbers(path, 20_000)
    assert peak_memory(path, sample=500) < 1.2 * small


def test_a_sample_is_a_reproducible_subset_of_the_file(path: Path) -> None:
    write_numbers(path, 1_000)
    read = dataset.load(path, sample=100)
    assert (len(read), read.rows) == (100, 1_000)
    assert read == dataset.load(path, sample=100)
    assert set(read.questions) < set(dataset.load(path).questions)


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 1000))
def test_a_reservoir_keeps_distinct_items_of_the_stream(length: int, size: int, seed: int) -> None:
    stream = [Question("", str(number), "", "") for number in range(length)]
    kept, count = dataset.reservoir(iter(stream), size, seed)
    assert count == length
    assert len(set(kept)) == len(kept) == min(length, size)
    assert set(kept) <= set(stream)
    if length <= size:
        assert kept == stream


def test_a_reservoir_keeps_each_item_with_the_same_probability() -> None:
    stream = [Question("", str(number), "", "") for number in range(50)]
    counts = Counter(question for seed in range(2000) for question in dataset.reservoir(stream, 10, seed)[0])
    # Each item is expected in 400 of 2,000 samples, with a standard deviation of 17.9.
    assert all(abs(counts[question] - 400) < 5 * 17.9 for question in stream)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="a sample of 0"):
        dataset.reservoir([], 0, 1)


# The question set of the service.


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return dataset.load().questions


def test_the_set_is_large_enough(questions: tuple[Question, ...]) -> None:
    assert len(questions) >= 200


def test_the_set_has_many_topics(questions: tuple[Question, ...]) -> None:
    assert len({question.topic for question in questions} - {""}) >= 10


def test_each_answer_has_two_to_four_sentences(questions: tuple[Question, ...]) -> None:
    counts = {question.text: len(SENTENCE_END.findall(question.original_answer)) for question in questions}
    assert {text: count for text, count in counts.items() if not 2 <= count <= 4} == {}


def test_the_set_has_no_duplicate_questions(questions: tuple[Question, ...]) -> None:
    assert len({question_id(question.text, question.context) for question in questions}) == len(questions)
    assert len({normalise(question.text) for question in questions}) == len(questions)


def test_the_set_has_no_duplicate_answers(questions: tuple[Question, ...]) -> None:
    assert len({normalise(question.original_answer) for question in questions}) == len(questions)


def test_the_body_of_a_question_omits_empty_fields() -> None:
    assert Question("science", "Why?", "Tell me", "Because.").body() == {
        "question_text": "Why?",
        "question_context": "Tell me",
        "original_answer": "Because.",
        "topic": "science",
    }
    assert Question("", "Why?", "", "").body() == {"question_text": "Why?"}


def test_a_long_topic_is_cut() -> None:
    assert Question("x" * 101, "Why?", "", "").body()["topic"] == "x" * MAX_TOPIC_CHARACTERS
