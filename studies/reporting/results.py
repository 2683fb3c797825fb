"""Results of a study: raw numbers, and figures with goals, stored as one JSON file for each program."""

import math
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from studies.reporting.files import write
from studies.reporting.machine import Machine
from studies.reporting.tables import table_of

RESULTS = Path("docs/benchmarks")
ROUND = "round"
"""Column with the number of the round."""


class Comparison(BaseModel):
    """One figure with its goal.

    Attributes:
        figure: What was measured.
        unit: Unit of both values.
        fleet: The fleet's value.
        against: The baseline's value; None: the goal is for the fleet's value itself.
        baseline: Description of the baseline.
        goal: Goal for fleet / against, or for the fleet's value without a baseline.
        sense: Whether the goal is a minimum or a maximum.
    """

    model_config = ConfigDict(frozen=True)

    figure: str
    unit: str
    fleet: float
    against: float | None
    baseline: str
    goal: float
    sense: Literal["at least", "at most"] = "at least"

    @property
    def judged(self) -> float:
        """The number that is compared with the goal: the ratio, or the value itself."""
        if self.against is None:
            return self.fleet
        return self.fleet / self.against if self.against else math.inf

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.judged >= self.goal if self.sense == "at least" else self.judged <= self.goal

    @property
    def share(self) -> float:
        """Share of the goal that is reached: 1 is just met, more is better."""
        if self.sense == "at least":
            return self.judged / self.goal
        return self.goal / self.judged if self.judged else math.inf

    def line(self) -> str:
        """Returns the comparison as one line for a terminal."""
        compared = f" / {self.against:.4g} of {self.baseline} = {self.judged:.2f} x" if self.against is not None else ""
        verdict = "met" if self.met else f"missed, {self.share:.0%} of it"
        return f"{self.figure}: {self.fleet:.4g} {self.unit}{compared} (goal: {self.sense} {self.goal:g}: {verdict})"


Run = dict[str, str | int | float]
"""The raw numbers of one run, by column."""


class Measurement(BaseModel):
    """The results of one program.

    Attributes:
        program: Name of the program.
        question: The question that it answers.
        method: The method, in Markdown.
        at: Time of its end.
        machine: Machine of the measurement.
        comparisons: The figures with goals.
        runs: The raw numbers, in the order in which they were taken.
    """

    model_config = ConfigDict(frozen=True)

    program: str
    question: str
    method: str
    at: datetime
    machine: Machine
    comparisons: tuple[Comparison, ...]
    runs: tuple[Run, ...]


def median(runs: Sequence[Run], column: str) -> float:
    """Returns the median of a column, which other load on the machine affects least."""
    return statistics.median(float(run[column]) for run in runs)


def medians(runs: Sequence[Run]) -> list[Run]:
    """Returns one run for each setting, with the medians of its rounds.

    A column belongs to the setting if it has the same values in every round. Runs without rounds stay as they are.
    """
    by_round: dict[object, list[Run]] = {}
    for run in runs:
        by_round.setdefault(run.get(ROUND), []).append(run)

    def constant(column: str) -> bool:
        return len({tuple(sorted(str(run.get(column)) for run in own)) for own in by_round.values()}) == 1

    columns = [column for column in dict.fromkeys(name for run in runs for name in run) if column != ROUND]
    setting = [column for column in columns if constant(column)]
    grouped: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        grouped.setdefault(tuple(run.get(column) for column in setting), []).append(run)
    return [
        {column: own[0][column] if column in setting else median(own, column) for column in columns if column in own[0]}
        for own in grouped.values()
    ]


def now() -> datetime:
    """Returns the current time, rounded to seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def read(folder: Path) -> list[Measurement]:
    """Reads the newest measurement of each program, by name."""
    return [Measurement.model_validate_json(each.read_text()) for each in sorted(folder.glob("*.json"))]


def keep(measurement: Measurement, folder: Path) -> None:
    """Prints a measurement and stores its raw numbers for the document."""
    print(table_of(measurement.runs))
    for comparison in measurement.comparisons:
        print(comparison.line())
    write(folder / f"{measurement.program}.json", (measurement.model_dump_json(indent=1) + "\n").encode())
