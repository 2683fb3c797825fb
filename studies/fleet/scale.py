"""Computes the needs of the fleet for more questions per second: `python -m studies.fleet.scale`, which needs no fleet.

It fills the table of docs/scale.md, which is between comments with its name, from the raw numbers of the other studies
(mainly footprint.py). It also prints the simulation of consumers and partitions beside measured values. Pure, except
`main`.
"""

import argparse
import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.fleet import footprint, scaling
from studies.reporting.results import RESULTS, Measurement, Run, read
from studies.reporting.tables import table_of
from tests.workers import SERVICE as LLM_CONSUMER

DOCUMENT = Path("docs/scale.md")

RATES = (10, 1_000, 100_000)

BUSY = 0.6
"""Mean utilisation of cores and of calls in flight, which leaves room for peaks."""

SCORED_ON_GPU = 1_200.0
"""Pairs/s of one scorer on an NVIDIA H100 with the embedded encoder, measured by studies/scorer/gpu.py."""

PARTITIONS_FOR_EACH = 4
"""Partitions per llm-consumer: a consumer with one more than another has at most a quarter more work."""

BROKER_CORES, BROKER_BYTES = 8, 100e6
"""A usual broker: cores, and incoming bytes/s, including replication."""

COPIES = 3
"""Replicas of each message, if there is more than one broker."""


@dataclass(frozen=True)
class Shape:
    """Parameters that determine how many questions/s a fleet answers.

    Attributes:
        partitions: Partitions of `questions-pending`.
        consumers: Replicas of llm-consumer.
        concurrency: Calls in flight of each replica.
        model_seconds: Duration of a call.
        cpu_seconds: CPU time of a question, in all services together.
        cores: Cores that the services share.
    """

    partitions: int
    consumers: int
    concurrency: int
    model_seconds: float
    cpu_seconds: float
    cores: int


def simulate(shape: Shape, questions: int, seed: int = 0) -> float:
    """Simulates a fleet that answers questions which all exist at the start.

    Each question is in a random partition and belongs to its consumer. A call in flight takes CPU time on the first
    free core, in order, and then the model's time.

    Returns:
        Questions/s until the last answer.
    """
    draw = random.Random(seed)
    waiting = [0] * shape.consumers
    for _ in range(questions):
        waiting[draw.randrange(shape.partitions) % shape.consumers] += 1
    cores = [0.0] * shape.cores
    free = [(0.0, consumer) for consumer in range(shape.consumers) for _ in range(shape.concurrency)]
    heapq.heapify(free)
    last = 0.0
    while any(waiting):
        at, consumer = heapq.heappop(free)
        if not waiting[consumer]:
            continue
        waiting[consumer] -= 1
        began = max(at, cores[0])
        heapq.heapreplace(cores, began + shape.cpu_seconds)
        ended = began + shape.cpu_seconds + shape.model_seconds
        last = max(last, ended)
        heapq.heappush(free, (ended, consumer))
    return questions / last


def checks(scaled: Measurement, concurrency: int) -> list[Run]:
    """Simulates what was measured with several llm-consumers and partitions.

    Args:
        scaled: Results of `studies/fleet/scaling.py`.
        concurrency: Calls in flight of each llm-consumer in those runs.
    """
    found: list[Run] = []
    for run in scaled.runs:
        shape = Shape(
            int(run["partitions"]),
            int(run["llm-consumers"]),
            concurrency,
            float(str(run["model"]).removesuffix(" s")),
            float(run["CPU ms/question"]) / 1000,
            scaled.machine.cores,
        )
        simulated, measured = simulate(shape, int(run["questions"])), float(run["completed/s"])
        found.append(
            {
                "partitions": shape.partitions,
                "llm-consumers": shape.consumers,
                "measured, questions/s": measured,
                "simulated, questions/s": simulated,
                "simulated / measured": simulated / measured,
            }
        )
    return found


@dataclass(frozen=True)
class Load:
    """The target load.

    Attributes:
        rate: Questions/s.
        generations: Mean number of answers per question.
        model_seconds: Duration of a call.
        concurrency: Calls in flight of each llm-consumer.
        scored: Pairs/s that a core of the scorer scores.
        scored_on_gpu: Pairs/s that a scorer with a GPU scores.
    """

    rate: float
    generations: float
    model_seconds: float
    concurrency: int
    scored: float
    scored_on_gpu: float


def taken_by(measured: Measurement) -> dict[str, float]:
    """Returns the usage of a question by name."""
    return {str(run["what"]): float(run["per question"]) for run in measured.runs}


def needs(load: Load, taken: Mapping[str, float]) -> Run:
    """Computes the needs of a load.

    Args:
        load: The load.
        taken: Usage of a question with one attempt, by the names of `studies/fleet/footprint.py`.
    """
    answers = load.rate * load.generations

    def cores(service: str, rate: float) -> float:
        return rate * taken[f"{footprint.CPU} {service}"] / 1000 / BUSY

    in_flight = answers * load.model_seconds
    consumers = math.ceil(max(in_flight / load.concurrency / BUSY, cores(LLM_CONSUMER, answers)))
    written = sum(each for name, each in taken.items() if name.startswith(footprint.DISK)) * answers
    brokers = max(cores("kafka", answers) / BROKER_CORES, written / BROKER_BYTES)
    if brokers > 1:
        brokers *= COPIES
    return {
        "questions/s": load.rate,
        "calls in flight": math.ceil(in_flight),
        "llm-consumers": consumers,
        "partitions of questions-pending": PARTITIONS_FOR_EACH * consumers,
        "storage-service, processes": math.ceil(cores("storage-service", load.rate)),
        "storage-writer, processes": math.ceil(cores("storage-writer", answers)),
        "Flink, cores": math.ceil(cores("flink-taskmanager", answers)),
        "scorer, cores": math.ceil(answers / load.scored / BUSY),
        "scorer, GPUs instead": math.ceil(answers / load.scored_on_gpu / BUSY),
        "topics, MB/s": written / 1e6,
        "brokers": math.ceil(brokers),
        "PostgreSQL, cores": math.ceil(cores("postgres", load.rate)),
        "PostgreSQL, transactions/s": load.rate * taken["transactions of PostgreSQL"],
        "PostgreSQL, log in MB/s": load.rate * taken["write-ahead log of PostgreSQL"] / 1e6,
        "PostgreSQL, GB/day": load.rate * taken["tables and indexes of PostgreSQL"] * 86_400 / 1e9,
        "Redis, commands/s": load.rate * taken["commands of Redis"],
        "Redis, GB for a million answers": taken["memory of Redis"] / 1e3,
    }


def across(rows: Sequence[Run]) -> list[Run]:
    """Transposes a table: columns become rows, named by the values of the first column."""
    first, *others = rows[0]
    return [{first: name, **{f"{row[first]:,}": row[name] for row in rows}} for name in others]


def fill(document: str, name: str, rows: Sequence[Run]) -> str:
    """Inserts a table between the comments `<!-- NAME -->` and `<!-- end of NAME -->` of a document.

    Raises:
        ValueError: The comments are missing.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"there is no {begin.strip()} … {end}")
    return "\n".join([before + begin, table_of(rows), "", end + after])


def main() -> None:
    """Prints the comparison and the needs, and writes the needs into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"raw numbers (default: {RESULTS})")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help=f"document to fill (default: {DOCUMENT})")
    parser.add_argument("--rate", type=float, nargs="+", default=RATES, help="questions/s (default: %(default)s)")
    parser.add_argument("--generations", type=float, default=1.3, help="answers for each question (default: 1.3)")
    parser.add_argument("--model-seconds", type=float, default=1, help="duration of a call (default: 1)")
    parser.add_argument("--concurrency", type=int, default=64, help="calls in each llm-consumer (default: 64)")
    parser.add_argument("--scored", type=float, required=True, help="pairs/s that a core of the scorer scores")
    parser.add_argument("--scored-on-gpu", type=float, default=SCORED_ON_GPU, help="pairs/s (default: %(default)s)")
    parser.add_argument(
        "--scaling-concurrency", type=int, default=16, help="calls in each llm-consumer of scaling.py (default: 16)"
    )
    options = parser.parse_args()
    measured = {each.program: each for each in read(options.results)}
    if footprint.main.program not in measured:
        raise SystemExit(f"{options.results} has no {footprint.main.program}.json: run studies.fleet.footprint first")
    taken = taken_by(measured[footprint.main.program])
    loads = [
        Load(
            rate, options.generations, options.model_seconds, options.concurrency, options.scored, options.scored_on_gpu
        )
        for rate in options.rate
    ]
    if scaling.main.program in measured:
        print(table_of(checks(measured[scaling.main.program], options.scaling_concurrency)), "", sep="\n")
    needed = across([needs(load, taken) for load in loads])
    print(table_of(needed))
    options.document.write_text(fill(options.document.read_text(), "needs", needed))


if __name__ == "__main__":
    main()
