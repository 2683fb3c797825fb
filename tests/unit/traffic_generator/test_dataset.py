import re
from pathlib import Path

import pytest

from pipeline.question import normalise, question_id
from traffic_generator import dataset
from traffic_generator.dataset import DatasetError, Question

HEADER = b"topic,question_text,question_context,original_answer\n"
SENTENCE_END = re.compile(r"[.!?][\"\u201d)]?(?=\s|$)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.csv"


def test_rows_are_read_in_their_order(path: Path) -> None:
    path.write_bytes(HEADER + b'science, Why? ,,Because.\n\nlife,"Who, then?","On two\nlines",\n')
    assert dataset.load(path) == (
        Question("science", "Why?", "", "Because."),
        Question("life", "Who, then?", "On two\nlines", ""),
    )


def test_columns_may_stand_in_any_order_beside_others(path: Path) -> None:
    path.write_bytes(b"original_answer,extra,question_context,question_text,topic\nBecause.,x,,Why?,science\n")
    assert dataset.load(path) == (Question("science", "Why?", "", "Because."),)


def test_a_byte_order_mark_and_dos_line_ends_are_fine(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + b"science,Why?,,Because.\r\n")
    assert dataset.load(path)[0].original_answer == "Because."


GOOD = b"science,Why?,,Because.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "line 1: no question in the file", id="empty"),
        pytest.param(HEADER, "line 1: no question in the file", id="header only"),
        pytest.param(
            b"topic,question_text,answer\na,b,c\n", "line 1: no column question_context, original_answer", id="column"
        ),
        pytest.param(HEADER + GOOD + b"science,Why?\n", "line 3: 2 values where the header has 4", id="short row"),
        pytest.param(HEADER + b'a,"b\nc"\n', "line 2: 2 values where the header has 4", id="row over two lines"),
        pytest.param(HEADER + GOOD + b"a,b,c,d,e\n", "line 3: 5 values where the header has 4", id="long row"),
        pytest.param(HEADER + b'a,b,"c\nc",d\na,,c,d\n', "line 4: question_text is empty", id="no question"),
        pytest.param(HEADER + GOOD + b"science,Wh\xff?,,Yes.\n", "line 3: not UTF-8", id="encoding"),
        pytest.param(b"\xef\xbb\xbf" + HEADER + b"\xff", "line 2: not UTF-8", id="encoding behind a mark"),
        pytest.param(HEADER + GOOD + b'a,"b,c,d\n', "line 3: not a CSV row", id="open quote"),
    ],
)
def test_a_slip_is_told_by_file_and_line(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        dataset.load(path)
    assert f"{path}, {message}" in str(caught.value)


def test_a_missing_file_is_told(path: Path) -> None:
    with pytest.raises(DatasetError, match=r"set\.csv: cannot be read: No such file"):
        dataset.load(path)


# The set that comes with the service.


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return dataset.load()


def test_the_set_is_large_enough(questions: tuple[Question, ...]) -> None:
    assert len(questions) >= 200


def test_the_set_has_many_topics(questions: tuple[Question, ...]) -> None:
    assert len({question.topic for question in questions} - {""}) >= 10


def test_each_answer_has_two_to_four_sentences(questions: tuple[Question, ...]) -> None:
    counts = {question.text: len(SENTENCE_END.findall(question.original_answer)) for question in questions}
    assert {text: count for text, count in counts.items() if not 2 <= count <= 4} == {}


def test_no_question_comes_twice(questions: tuple[Question, ...]) -> None:
    assert len({question_id(question.text, question.context) for question in questions}) == len(questions)
    assert len({normalise(question.text) for question in questions}) == len(questions)


def test_no_answer_comes_twice(questions: tuple[Question, ...]) -> None:
    assert len({normalise(question.original_answer) for question in questions}) == len(questions)
