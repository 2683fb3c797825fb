"""Measures completed questions per second, compared with Celery: `python -m studies.fleet.throughput`, in the tests'
container.

Measures from the first `POST /query` to the row of the last answer in PostgreSQL, for unique questions, with fakes of
model and scorer of negligible cost, so that only the other parts count. The fleet and the baseline
(studies/baselines/celery) alternate in rounds, on the same machine, with the same fakes, the same PostgreSQL and the
same number of processes. The median of each counts; the fleet is compared with the baseline's best layout and
concurrency.
"""

import argparse
import itertools
from collections.abc import Iterable, Sequence

from studies.fleet.environment.celery import Layout
from studies.fleet.environment.fakes import fake_scorer
from studies.fleet.environment.fleet import idle_fleet, partition_count, raise_partitions
from studies.fleet.environment.http_load import Client
from studies.fleet.environment.workload import WORKERS, Side, Workload
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study

LAYOUTS: tuple[Layout, ...] = ("kinds", "alike")

METHOD = """\
Questions at full speed. The baseline is Celery with `acks_late`, a Redis broker with an append-only file, and Flask
under gunicorn with 64 threads. Its workers are divided by kinds of task like the fleet's processes (two generate, one
scores, one persists) or alike (two do everything). The idle fleet takes the CPU time in the last column. Two
llm-consumers share three partitions unevenly: one has two thirds of the questions; `--raise-partitions` adds partitions
before the runs with a model of 1 s. Their first and last second count, too, in which not all calls can be in flight."""


def sides(layouts: Sequence[Layout], fleet_concurrency: int, concurrencies: Sequence[int]) -> list[Side]:
    """Returns the fleet and each baseline."""
    baselines = [
        Side(f"celery, {layout}, {concurrency} threads", layout, concurrency)
        for layout, concurrency in itertools.product(layouts, concurrencies)
    ]
    return [Side("fleet", None, fleet_concurrency), *baselines]


def schedule(of: Sequence[Side], rounds: int) -> list[tuple[int, Side]]:
    """Returns the order of the sides: every second round is reversed, so that drift of the machine affects all."""
    return [(number + 1, each) for number in range(rounds) for each in (of if number % 2 == 0 else of[::-1])]


def rates(runs: Iterable[Run]) -> dict[str, float]:
    """Returns the median of completed questions/s of each side."""
    by_side: dict[str, list[Run]] = {}
    for run in runs:
        by_side.setdefault(str(run["side"]), []).append(run)
    return {side: median(own, "completed/s") for side, own in by_side.items()}


def compare(figure: str, runs: Sequence[Run], goal: float) -> Comparison:
    """Compares the fleet with the best baseline.

    Raises:
        ValueError: Fleet or baseline was not measured.
    """
    by_side = rates(runs)
    fleet = by_side.pop("fleet", None)
    if fleet is None or not by_side:
        raise ValueError("fleet and baseline have to be measured both")
    best = max(by_side, key=lambda side: by_side[side])
    return Comparison(figure=figure, unit="questions/s", fleet=fleet, against=by_side[best], baseline=best, goal=goal)


@study(
    "How many questions per second are completed, compared with Celery?",
    METHOD,
    option("--questions", type=int, default=5000, help="questions of each run with 0 ms (default: 5000)"),
    option("--slow-questions", type=int, default=6000, help="questions of each run with 1 s (default: 6000)"),
    option("--rounds", type=int, default=3, help="(default: 3)"),
    option("--connections", type=int, default=32, help="connections of the client (default: 32)"),
    option("--concurrency", type=int, default=16, help="calls in flight in each worker (default: 16)"),
    option("--slow-concurrency", type=int, default=128, help="the same for the fleet with 1 s (default: 128)"),
    option("--celery-slow-concurrency", type=int, nargs="+", default=[64, 128, 192], help="values for Celery with 1 s"),
    option(
        "--raise-partitions", type=int, default=0, help="raise questions-pending permanently before the runs with 1 s"
    ),
    option("--model", choices=("0", "1", "both"), default="both", help="latency of the model in seconds"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    comparisons: list[Comparison] = []
    client = Client()
    layouts: Sequence[Layout] = LAYOUTS
    with idle_fleet() as fleet, fake_scorer(fleet):
        if options.model != "1":
            workload = Workload(fleet, client, 0, options.questions, options.connections)
            fast = workload.run(schedule(sides(LAYOUTS, options.concurrency, [options.concurrency]), options.rounds))
            comparisons.append(compare("questions/s, model 0 ms", fast, 2.5))
            runs += fast
            best = max(LAYOUTS, key=lambda layout: max(v for k, v in rates(fast).items() if f", {layout}," in k))
            layouts = (best,)
        if options.model != "0":
            raise_partitions(fleet, options.raise_partitions)
            partitions = partition_count()
            workload = Workload(fleet, client, 1, options.slow_questions, options.connections)
            candidates = sides(layouts, options.slow_concurrency, options.celery_slow_concurrency)
            slow = workload.run(schedule(candidates, options.rounds))
            comparison = compare(f"questions/s, model 1 s, {partitions} partitions", slow, 2)
            limit = options.slow_concurrency * WORKERS
            comparisons += [
                comparison,
                comparison.model_copy(
                    update={
                        "figure": f"questions/s, model 1 s, {partitions} partitions, of what its calls in flight allow",
                        "against": float(limit),
                        "baseline": f"LLM_CONCURRENCY {WORKERS * options.slow_concurrency} / 1 s",
                        "goal": 0.9,
                    }
                ),
            ]
            runs += slow
    client.close()
    return Findings(comparisons)


if __name__ == "__main__":
    main()
