"""Reads recorded answers of the embedded models with their labels, of which one part is held out."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

DATA = Path("studies/answers/data")

Label = Literal["wrong", "partly", "right"]
LABELS: tuple[Label, ...] = get_args(Label)
"""From the lowest to the highest."""

READINGS = ("first", "second", "third")

Part = Literal["fit", "held"]


class LabelledAnswer(NamedTuple):
    """A recorded answer.

    Attributes:
        model: The model that gave it.
        question_id: The question.
        question: Its text.
        reference: Its reference answer.
        attempt: Number of the attempt, from 1.
        answer: The answer.
        readings: Labels of the readers.
    """

    model: str
    question_id: str
    question: str
    reference: str
    attempt: int
    answer: str
    readings: tuple[Label, ...]

    @property
    def label(self) -> Label:
        """The middle label."""
        return sorted(self.readings, key=LABELS.index)[len(self.readings) // 2]

    @property
    def part(self) -> Part:
        """`fit`: for choosing prompts and thresholds. `held`: only for measuring the choice."""
        return part_of(self.question_id)


def part_of(question_id: str) -> Part:
    """Returns the part of a question; all answers to a question are in the same part."""
    return "held" if int(question_id[-1], 16) % 2 else "fit"


def read(folder: Path = DATA) -> list[LabelledAnswer]:
    """Returns all recorded answers, by model, question and attempt.

    Raises:
        ValueError: An answer has no label, or an unknown one.
    """
    return [answer for answers in sorted(folder.glob("*.jsonl")) for answer in read_model(answers)]


def read_model(answers: Path) -> list[LabelledAnswer]:
    """Returns the recorded answers of a model; the labels are in a CSV file of the same name.

    Raises:
        ValueError: An answer has no label, or an unknown one.
    """
    with answers.with_suffix(".csv").open(newline="", encoding="utf-8") as lines:
        labels = {(row["question_id"], int(row["attempt"])): _readings(row) for row in csv.DictReader(lines)}
    found = []
    for line in answers.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        key = (row["question_id"], row["attempt"])
        if key not in labels:
            raise ValueError(f"{answers}: no label for attempt {key[1]} of {key[0]}")
        texts = (row["question_text"], row["original_answer"])
        found.append(LabelledAnswer(row["model"], key[0], *texts, key[1], row["llm_response"], labels[key]))
    return found


def kappa(one: Sequence[str], other: Sequence[str]) -> float:
    """Returns how far two readers agree beyond chance: 1 is full agreement, 0 is chance.

    Cohen, J. (1960). A coefficient of agreement for nominal scales. Educational and Psychological Measurement 20(1).

    Raises:
        ValueError: There are no labels, or the numbers of labels differ.
    """
    if not one or len(one) != len(other):
        raise ValueError("two readers need labels for the same answers")
    agreed = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    chance = sum(one.count(label) * other.count(label) for label in {*one, *other}) / len(one) ** 2
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


def _readings(row: dict[str, str]) -> tuple[Label, ...]:
    readings = tuple(row[reading] for reading in READINGS)
    if not set(readings) <= set(LABELS):
        raise ValueError(f"unknown label in {readings}")
    return readings  # type: ignore[return-value]
