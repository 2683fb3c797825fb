"""Measures the cost of a provider's limit: `python -m studies.fleet.limits`, in the tests' container.

A fake model admits a number of calls, or of tokens, in any minute and refuses the others; or it is down for minutes.
Three times as many questions as it admits per minute are asked at once.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fakes import ANSWER
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.questions import unique_questions
from studies.reporting.results import Comparison, Run
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import Fleet
from tests.limited import allowed_seconds, ask_all
from tests.scripted_provider import TOKENS, RateLimit, ScriptedProvider, answer

LONGER, SLACK_SECONDS = 1.15, 20.0
"""Time that the fleet may take in addition to the time that the limit requires."""
OUTAGE_QUESTIONS = 500
FLUSH_SECONDS = 30.0
DOWN_AFTER_SECONDS = 3.0

METHOD = f"""\
A fake model takes 1 s and admits a number of calls, or of their tokens, in any minute (a sliding window). Three times
as many questions are asked at once, so the limit itself requires two minutes. The refused share is refused calls /
answered calls. Headers: `x-ratelimit-*` on answers and refusals. Flushed: Redis is emptied after {FLUSH_SECONDS:g} s.
Outage: connections are refused while {OUTAGE_QUESTIONS} questions are pending."""


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        name: Information that the provider gives.
        limit: Limit of the provider; None: none.
        workers: Replicas of llm-consumer.
        most_refused: Share of refused calls that the goal allows.
        flushed: Whether Redis is emptied during the run.
    """

    name: str
    limit: RateLimit
    workers: int
    most_refused: float
    flushed: bool = False


def cases(per_minute: int) -> list[Case]:
    """Returns the runs for a limit of calls per minute."""
    silent, telling = RateLimit(per_minute), RateLimit(per_minute, headers=True)
    found = [
        Case(name, limit, workers, most)
        for name, limit, most in (("no hint", silent, 0.3), ("headers", telling, 0.1))
        for workers in (1, 2, 4)
    ]
    tokens = RateLimit(tokens=per_minute * TOKENS, headers=True)
    return [*found, Case("no hint, flushed", silent, 2, 0.3, True), Case("tokens, headers", tokens, 2, 0.1)]


def compare(runs: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compares each run with its goals."""
    found = []
    for run in runs:
        name = f"{run['provider']}, {run['llm-consumers']} llm-consumers"
        if run["provider"] == "outage":
            found.append(_comparison(f"{name}: failed", "questions", float(run["failed"]), 0))
            continue
        found += [
            _comparison(f"{name}: all answered after", "s", float(run["s"]), float(run["allowed, s"])),
            _comparison(
                f"{name}: refused", "of the answered", float(run["refused share"]), float(run["allowed share"])
            ),
        ]
    return tuple(found)


def _comparison(figure: str, unit: str, value: float, goal: float) -> Comparison:
    return Comparison(figure=figure, unit=unit, fleet=value, against=None, baseline="", goal=goal, sense="at most")


def limited(fleet: Fleet, case: Case, per_minute: int) -> Run:
    """Measures one limit."""
    questions = 3 * per_minute
    provider = ScriptedProvider(lambda _: [[answer(ANSWER, 1.0)]], case.limit)
    left = [FLUSH_SECONDS] if case.flushed else []

    def meanwhile(since: float) -> None:
        if left and since > left[0]:
            left.pop()
            fleet.cache.flushall()

    try:
        found = ask_all(fleet, provider, unique_questions(questions)[1], case.workers, 600, meanwhile)
    finally:
        provider.close()
    if found.completed != questions:
        raise MeasurementError(f"{found.completed} of {questions} questions completed, {found.failed} failed")
    asked_for = allowed_seconds(questions, per_minute)
    return {
        "provider": case.name,
        "llm-consumers": case.workers,
        "questions": questions,
        "failed": found.failed,
        "s": round(found.seconds, 1),
        "the limit's own, s": asked_for,
        "allowed, s": LONGER * asked_for + SLACK_SECONDS,
        "refused": found.refused,
        "refused share": round(found.refused / found.answered, 3),
        "allowed share": case.most_refused,
    }


def outage(fleet: Fleet, seconds: float) -> Run:
    """Measures the cost of an outage."""
    provider = ScriptedProvider(lambda _: [[answer(ANSWER, 1.0)]])
    steps = [(DOWN_AFTER_SECONDS, provider.go_down), (DOWN_AFTER_SECONDS + seconds, provider.come_up)]

    def meanwhile(since: float) -> None:
        if steps and since > steps[0][0]:
            steps.pop(0)[1]()

    try:
        found = ask_all(fleet, provider, unique_questions(OUTAGE_QUESTIONS)[1], 2, seconds + 600, meanwhile)
    finally:
        provider.close()
    return {
        "provider": "outage",
        "llm-consumers": 2,
        "questions": OUTAGE_QUESTIONS,
        "failed": found.failed,
        "s": round(found.seconds, 1),
        "down for, s": seconds,
    }


@study(
    "What does a provider's limit cost, and what an outage?",
    METHOD,
    option("--per-minute", type=int, default=20, help="admitted calls per minute (default: 20)"),
    option("--outage", type=float, default=300, help="duration of the outage in seconds (default: 300)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    with idle_fleet() as fleet:
        for case in cases(options.per_minute):
            runs.add(limited(fleet, case, options.per_minute))
        runs.add(outage(fleet, options.outage))
    return Findings(compare(runs))


if __name__ == "__main__":
    main()
