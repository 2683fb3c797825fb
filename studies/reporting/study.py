"""Common frame of the studies of the fleet: options, machine, raw numbers, and the stored result."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.reporting.machine import machine
from studies.reporting.results import RESULTS, Comparison, Measurement, Run, keep, now


class Runs(list[Run]):
    """The raw numbers of a study."""

    def add(self, *runs: Run) -> None:
        """Adds and prints runs."""
        self.extend(runs)
        print(*runs, sep="\n", flush=True)


@dataclass(frozen=True)
class Findings:
    """Results of a study in addition to its raw numbers.

    Attributes:
        comparisons: The figures with goals.
        suffix: Suffix of the stored result's name, if there are results for several settings.
        facts: Numbers of this run for the placeholders `{NAME}` in question and method.
    """

    comparisons: Sequence[Comparison] = ()
    suffix: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


Option = tuple[tuple[str, ...], dict[str, Any]]
Measure = Callable[[argparse.Namespace, Runs], Findings]
Finish = Callable[[argparse.Namespace, Measurement], None]


def option(*flags: str, **settings: Any) -> Option:
    """Returns an option of a study, for `ArgumentParser.add_argument`."""
    return flags, settings


@dataclass(frozen=True)
class Study:
    """A program that answers a question by measuring; call it to run it.

    Attributes:
        program: Name of the program.
        question: The question that it answers.
        method: The method, in Markdown.
        options: Options of its command line, in addition to `--results`.
        measure: Function that measures and adds raw numbers to the runs.
        finish: Called with the result after it was stored.
    """

    program: str
    question: str
    method: str
    options: Sequence[Option]
    measure: Measure
    finish: Finish

    def __call__(self, arguments: Sequence[str] | None = None) -> Measurement:
        """Measures, stores the result and returns it."""
        options = self._parse(arguments)
        where, runs = machine(), Runs()
        found = self.measure(options, runs)
        measurement = Measurement(
            program=self.program + found.suffix,
            question=self.question.format(**found.facts),
            method=self.method.format(**found.facts) if found.facts else self.method,
            at=now(),
            machine=where,
            comparisons=tuple(found.comparisons),
            runs=tuple(runs),
        )
        keep(measurement, options.results)
        self.finish(options, measurement)
        return measurement

    def _parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            description=f"{self.question}\n\n{sys.modules[self.measure.__module__].__doc__}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for flags, settings in self.options:
            parser.add_argument(*flags, **settings)
        parser.add_argument("--results", type=Path, default=RESULTS, help=f"folder (default: {RESULTS})")
        return parser.parse_args(arguments)


def study(
    question: str, method: str, *options: Option, finish: Finish = lambda _options, _measurement: None
) -> Callable[[Measure], Study]:
    """Decorates the function that measures, to make it a study named like its module."""

    def decorated(measure: Measure) -> Study:
        program = Path(measure.__code__.co_filename).stem  # its module is `__main__` if it is run directly
        return Study(program, question, method, options, measure, finish)

    return decorated
