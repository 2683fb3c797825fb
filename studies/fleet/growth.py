"""Measures the cost of a question by the number stored: `python -m studies.fleet.growth`, in the tests' container.

The first figure of throughput.py, only for the fleet, with increasing numbers of completed questions in PostgreSQL.
"""

import argparse
from collections.abc import Sequence

from studies.fleet.environment.database import Database
from studies.fleet.environment.fakes import fake_scorer
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.http_load import Client
from studies.fleet.environment.questions import delete_benchmark_rows, fill
from studies.fleet.environment.workload import Side, Workload
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study

GROWTH = 1.1
WARM_UP = 10_000
"""Unmeasured questions, until the JVMs have compiled their hot code; they are deleted again."""

METHOD = """\
Completed questions with attempts and answer are written into the tables up to a number, and the tables are analysed, as
autovacuum does in time. Then new questions are asked at full speed, with fakes of 0 ms. More than ten thousand
questions before the first run do not count and are deleted."""


def compare(runs: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compares the most stored questions with the fewest, by the medians of their runs."""
    fewest, most = (choose(int(run["stored"]) for run in runs) for choose in (min, max))

    def at(stored: int, column: str) -> float:
        return median([run for run in runs if run["stored"] == stored], column)

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


@study(
    "Does a question cost more the more there are?",
    METHOD,
    option(
        "--stored",
        type=int,
        nargs="+",
        default=[1000, 10_000, 50_000],
        help="numbers of stored questions, in ascending order",
    ),
    option("--questions", type=int, default=2000, help="questions of each run (default: 2000)"),
    option("--rounds", type=int, default=2, help="runs for each number (default: 2)"),
    option("--connections", type=int, default=32, help="connections of the client (default: 32)"),
    option("--concurrency", type=int, default=16, help="calls in flight in each worker (default: 16)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    client, side = Client(), Side("fleet", None, options.concurrency)
    with idle_fleet() as fleet, fake_scorer(fleet):
        database = Database()
        Workload(fleet, client, 0, WARM_UP, options.connections).run([(0, side)])
        delete_benchmark_rows(fleet)
        for wanted in sorted(options.stored):
            stored = fill(database, wanted)
            workload = Workload(fleet, client, 0, options.questions, options.connections)
            plan = [(number + 1, side) for number in range(options.rounds)]
            runs += [{"stored": stored, **run} for run in workload.run(plan)]
        database.close()
    client.close()
    return Findings(compare(runs))


if __name__ == "__main__":
    main()
