"""What a study found: raw numbers, and figures with goals, kept as one JSON file for each program."""

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


class Comparison(BaseModel):
    """One figure with its goal.

    Attributes:
        figure: What was measured.
        unit: Of both values.
        fleet: The fleet's value.
        against: The value that it is compared with; None: the goal is one for the value itself.
        baseline: What it is compared with.
        goal: Of fleet / against, or of the fleet's value where there is nothing to compare with.
        sense: Which side of the goal is good.
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
        """The number that the goal is for: the ratio, or the value itself."""
        if self.against is None:
            return self.fleet
        return self.fleet / self.against if self.against else math.inf

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.judged >= self.goal if self.sense == "at least" else self.judged <= self.goal

    @property
    def share(self) -> float:
        """How far the goal is reached: 1 is just met, more is better."""
        if self.sense == "at least":
            return self.judged / self.goal
        return self.goal / self.judged if self.judged else math.inf

    def line(self) -> str:
        """Returns it as one line for a terminal."""
        compared = f" / {self.against:.4g} of {self.baseline} = {self.judged:.2f} x" if self.against is not None else ""
        verdict = "met" if self.met else f"missed, {self.share:.0%} of it"
        return f"{self.figure}: {self.fleet:.4g} {self.unit}{compared} (goal: {self.sense} {self.goal:g}: {verdict})"


Run = dict[str, str | int | float]
"""The raw numbers of one run, by column."""


class Measurement(BaseModel):
    """What one program measured.

    Attributes:
        program: Its name.
        question: What it answers.
        method: How, in Markdown.
        at: When it ended.
        machine: Where.
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
    """Returns the median of a column; it is the round that other load on the machine disturbs least."""
    return statistics.median(float(run[column]) for run in runs)


def now() -> datetime:
    """Returns the time to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def read(folder: Path) -> list[Measurement]:
    """Reads the newest measurement of each program, by name."""
    return [Measurement.model_validate_json(each.read_text()) for each in sorted(folder.glob("*.json"))]


def keep(measurement: Measurement, folder: Path) -> None:
    """Prints a measurement and leaves its raw numbers for the document."""
    print(table_of(measurement.runs))
    for comparison in measurement.comparisons:
        print(comparison.line())
    write(folder / f"{measurement.program}.json", (measurement.model_dump_json(indent=1) + "\n").encode())
