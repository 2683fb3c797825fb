"""Results of the study of judges: one CSV row for each answer."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from studies.answers.labelled import LabelledAnswer
from studies.reporting.files import write
from studies.reporting.tables import csv_of

FILE = Path("docs/judge-study.csv")


class Result(NamedTuple):
    """Score and judgement of an answer.

    Attributes:
        model: The model that gave the answer.
        question_id: The question.
        attempt: Number of the attempt, from 1.
        score: `bert_score`; None: the encoder cannot read it.
        judge: The model that judged.
        probability: That the answer is right; None: the judge refused.
        problem: What is probably wrong; None: nothing.
        tokens: Tokens of the judgement.
        seconds: Time of the judgement.
    """

    model: str
    question_id: str
    attempt: int
    score: float | None
    judge: str
    probability: float | None
    problem: str | None
    tokens: int
    seconds: float


def key(each: Result | LabelledAnswer) -> tuple[str, str, int]:
    """Returns what identifies an answer."""
    return each.model, each.question_id, each.attempt


def append(path: Path, result: Result) -> None:
    """Adds a result to a file; creates it with a header if needed."""
    cells = {name: "" if value is None else value for name, value in result._asdict().items()}
    cells |= {name: round(value, 6) for name, value in cells.items() if isinstance(value, float)}
    text = csv_of([cells])
    if path.exists():
        with path.open("a", encoding="utf-8") as file:
            file.write(text.split("\n", 1)[1])
    else:
        write(path, text.encode())


def read_results(path: Path) -> Sequence[Result]:
    """Returns the results of a file; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as lines:
        return [
            Result(
                model=row["model"],
                question_id=row["question_id"],
                attempt=int(row["attempt"]),
                score=float(row["score"]) if row["score"] else None,
                judge=row["judge"],
                probability=float(row["probability"]) if row["probability"] else None,
                problem=row["problem"] or None,
                tokens=int(row["tokens"]),
                seconds=float(row["seconds"]),
            )
            for row in csv.DictReader(lines)
        ]
