"""Reads the question set and the labelled answers: CSV files with a header, in UTF-8."""

import csv
from pathlib import Path
from typing import Literal, NamedTuple, get_args

QUESTIONS_FILE = Path("traffic_generator/data/questions.csv")
LABELLED_FILE = Path("studies/threshold/data/labelled.csv")

Label = Literal["good", "partly", "wrong", "off_topic", "gibberish", "empty"]
LABELS: tuple[Label, ...] = get_args(Label)


class Labelled(NamedTuple):
    """An answer with a label.

    Attributes:
        question: Text of the question.
        reference: The reference answer.
        label: Judgement of the answer.
        answer: Text of the answer.
    """

    question: str
    reference: str
    label: Label
    answer: str


def read_references(path: Path) -> list[str]:
    """Returns the different reference answers of a question set, in order."""
    with path.open(newline="", encoding="utf-8") as lines:
        return list(dict.fromkeys(row["original_answer"] for row in csv.DictReader(lines) if row["original_answer"]))


def read_labelled(path: Path) -> list[Labelled]:
    """Returns the labelled answers of a file.

    Raises:
        ValueError: A label is not one of `LABELS`.
    """
    with path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        if row["label"] not in LABELS:
            raise ValueError(f"{path}: unknown label {row['label']!r}")
    return [Labelled(row["question_text"], row["original_answer"], row["label"], row["answer"]) for row in rows]  # type: ignore[arg-type]
