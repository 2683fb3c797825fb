"""Measures the effect of more llm-consumers and partitions: `python -m studies.fleet.scaling`, in the tests' container.

The second figure of throughput.py, only for the fleet, with few calls in flight in each consumer, so that the calls and
not the machine are the bottleneck.
"""

import argparse
from collections.abc import Sequence

from studies.fleet.environment.fakes import fake_scorer
from studies.fleet.environment.fleet import idle_fleet, partition_count, raise_partitions
from studies.fleet.environment.http_load import Client
from studies.fleet.environment.workload import Side, Workload
from studies.reporting.results import Comparison, Run, median
from studies.reporting.study import Findings, Runs, option, study

SCALING = 1.9
OCCUPIED = 0.95
"""Share of the allowed calls in flight."""
MODEL_SECONDS = 1.0

METHOD = f"""\
The same number of questions at full speed for each number of llm-consumers, with a fake model of {MODEL_SECONDS:g} s.
Consumers beyond the partitions of questions-pending are idle. Added partitions cannot be removed, so more of them are
measured only with `--raise-partitions`."""


def compare(runs: Sequence[Run], concurrency: int) -> tuple[Comparison, ...]:
    """Compares twice as many consumers with half as many, for each number of partitions with both.

    Args:
        runs: Runs with a model of `MODEL_SECONDS`.
        concurrency: Calls in flight of each consumer.
    """
    found = []
    for partitions in dict.fromkeys(int(run["partitions"]) for run in runs):
        own = [run for run in runs if run["partitions"] == partitions]
        fewest, most = (choose(int(run["llm-consumers"]) for run in own) for choose in (min, max))
        if most != 2 * fewest:
            continue
        half, whole = (
            median([run for run in own if run["llm-consumers"] == count], "completed/s") for count in (fewest, most)
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
                against=fewest * concurrency / MODEL_SECONDS,
                baseline=f"LLM_CONCURRENCY {fewest * concurrency} / {MODEL_SECONDS:g} s",
                goal=OCCUPIED,
            ),
        ]
    return tuple(found)


@study(
    "What is the effect of more llm-consumers and partitions?",
    METHOD,
    option("--consumers", type=int, nargs="+", default=[2, 4], help="llm-consumers (default: 2 4)"),
    option("--questions", type=int, default=2000, help="questions of each run (default: 2000)"),
    option("--rounds", type=int, default=2, help="runs of each number of llm-consumers (default: 2)"),
    option("--connections", type=int, default=32, help="connections of the client (default: 32)"),
    option("--concurrency", type=int, default=16, help="calls in flight in each worker (default: 16)"),
    option(
        "--raise-partitions", type=int, nargs="*", default=[], help="raise questions-pending permanently and repeat"
    ),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    client, side = Client(), Side("fleet", None, options.concurrency)
    with idle_fleet() as fleet, fake_scorer(fleet):
        for wanted in (0, *sorted(options.raise_partitions)):
            raise_partitions(fleet, wanted)
            partitions = partition_count()
            for count in options.consumers:
                workload = Workload(fleet, client, MODEL_SECONDS, options.questions, options.connections, count)
                plan = [(number + 1, side) for number in range(options.rounds)]
                runs += [{"partitions": partitions, "llm-consumers": count, **run} for run in workload.run(plan)]
    client.close()
    return Findings(compare(runs, options.concurrency))


if __name__ == "__main__":
    main()
