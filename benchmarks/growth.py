"""Does a question cost more the more there are? `python -m benchmarks.growth`, in the tests' container.

The first figure of benchmarks/throughput.py, of the fleet alone, with more and more completed questions in PostgreSQL.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, stage
from benchmarks.report import Comparison, Measurement, Run
from benchmarks.requests_load import Client
from benchmarks.stage import Database, ScriptedScorer
from benchmarks.stored import fill
from benchmarks.throughput import Course, Side

PROGRAM = "growth"
GROWTH = 1.1
SCALING = 1.9
OCCUPIED = 0.9
"""Share of the calls that may be in flight."""
SLOW_SECONDS = 1.0

METHOD = f"""\
Completed questions with their attempts and answer are written into the tables until as many are there, and the
statistics of the tables are renewed, as autovacuum does in time; then new questions are asked, with fakes of model and
scorer of 0 ms. What one costs is the CPU time of all of the fleet's containers without the fakes. Partitions and
llm-consumers are left as they are there. Then, with a model of {SLOW_SECONDS:g} s, as many questions for 2 and for 4
llm-consumers; consumers beyond the partitions of questions-pending have nothing to do. Partitions that were added
cannot be taken back, so more of them are measured only if `--raise-partitions` says so."""


def compare(runs: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compares the most stored questions with the fewest, by the medians of their runs."""
    fewest, most = (choose(int(run["stored"]) for run in runs) for choose in (min, max))

    def at(stored: int, column: str) -> float:
        return report.median([run for run in runs if run["stored"] == stored], column)

    cost, rate = "CPU ms/question", "completed/s"
    return (
        Comparison(
            figure=f"cost of a question with {most} stored",
            unit="CPU ms",
            fleet=at(most, cost),
            against=at(fewest, cost),
            baseline=f"with {fewest} stored",
            goal=GROWTH,
            sense="at most",
        ),
        Comparison(
            figure=f"questions/s with {most} stored",
            unit="questions/s",
            fleet=at(most, rate),
            against=at(fewest, rate),
            baseline=f"with {fewest} stored",
            goal=1 / GROWTH,
        ),
    )


def compare_scaling(runs: Sequence[Run], concurrency: int) -> tuple[Comparison, ...]:
    """Compares twice as many consumers with half as many, for each number of partitions that has both.

    Args:
        runs: With a model of `SLOW_SECONDS`.
        concurrency: Calls in flight in each consumer.
    """
    found = []
    for partitions in dict.fromkeys(int(run["partitions"]) for run in runs):
        own = [run for run in runs if run["partitions"] == partitions]
        fewest, most = (choose(int(run["llm-consumers"]) for run in own) for choose in (min, max))
        if most != 2 * fewest:
            continue
        half, whole = (
            report.median([run for run in own if run["llm-consumers"] == count], "completed/s")
            for count in (fewest, most)
        )
        found += [
            Comparison(
                figure=f"questions/s with {most} llm-consumers, {partitions} partitions",
                unit="questions/s",
                fleet=whole,
                against=half,
                baseline=f"with {fewest}",
                goal=SCALING,
            ),
            Comparison(
                figure=f"questions/s with {fewest} llm-consumers, {partitions} partitions, of what their calls allow",
                unit="questions/s",
                fleet=half,
                against=fewest * concurrency / SLOW_SECONDS,
                baseline=f"{fewest} x LLM_CONCURRENCY {concurrency} / {SLOW_SECONDS:g} s",
                goal=OCCUPIED,
            ),
        ]
    return tuple(found)


def main() -> None:
    """Measures and keeps the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", type=int, nargs="+", default=[1000, 10_000, 50_000], help="in growing order")
    parser.add_argument("--questions", type=int, default=2000, help="of each run (default: 2000)")
    parser.add_argument("--rounds", type=int, default=2, help="runs with as many stored (default: 2)")
    parser.add_argument("--connections", type=int, default=32, help="of the client (default: 32)")
    parser.add_argument("--concurrency", type=int, default=16, help="calls in flight in each worker (default: 16)")
    parser.add_argument("--consumers", type=int, nargs="*", default=[2, 4], help="with a model of 1 s (default: 2 4)")
    parser.add_argument("--slow-questions", type=int, default=2000, help="of each of those runs (default: 2000)")
    parser.add_argument(
        "--raise-partitions", type=int, nargs="*", default=[], help="of questions-pending, for good, and measure again"
    )
    parser.add_argument("--results", type=Path, default=report.RESULTS, help=f"folder (default: {report.RESULTS})")
    options = parser.parse_args()
    machine = report.machine()
    runs: list[Run] = []
    client, side = Client(), Side("fleet", None, options.concurrency)
    with stage.quiet_fleet() as fleet, ScriptedScorer(fleet):
        database = Database()
        for wanted in sorted(options.stored):
            stored = fill(database, wanted)
            course = Course(fleet, client, 0, options.questions, options.connections)
            plan = [(number + 1, side) for number in range(options.rounds)]
            runs += [{"stored": stored, **run} for run in course.run(plan)]
        scaled: list[Run] = []
        for wanted in (0, *sorted(options.raise_partitions)):
            stage.raise_partitions(fleet, wanted)
            partitions = stage.partitions()
            for count in options.consumers:
                course = Course(fleet, client, SLOW_SECONDS, options.slow_questions, options.connections, count)
                plan = [(number + 1, side) for number in range(options.rounds)]
                scaled += [{"partitions": partitions, "llm-consumers": count, **run} for run in course.run(plan)]
        database.close()
    client.close()
    report.keep(
        Measurement(
            program=PROGRAM,
            question="Does a question cost more the more there are?",
            method=METHOD,
            at=report.now(),
            machine=machine,
            comparisons=(*compare(runs), *compare_scaling(scaled, options.concurrency)),
            runs=(*runs, *scaled),
        ),
        options.results,
    )


if __name__ == "__main__":
    main()
