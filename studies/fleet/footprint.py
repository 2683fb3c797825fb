"""Measures the resources that a question takes: `python -m studies.fleet.footprint`, in the tests' container.

Measures one question with one attempt through the fleet, with fakes of model and scorer of negligible cost: CPU time of
each service, bytes stored in Kafka, PostgreSQL and Redis, and the number of transactions and commands. scale.py
computes the needs of more questions per second from these figures.
"""

import argparse
import time
from collections.abc import Mapping

from docker.models.containers import Container

from studies.fleet.environment.containers import cpu_seconds
from studies.fleet.environment.database import Database
from studies.fleet.environment.fakes import REFERENCE, fake_scorer, instant_provider
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.http_load import Client, question
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_for_members, wait_until_completed
from studies.reporting.results import Run
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import STORAGE, Fleet
from tests.workers import SERVICE, Workers

WARM_UP = 10_000
"""Unmeasured questions, until the JVMs have compiled their hot code."""
WORKERS = 2
CONNECTIONS = 32
LONGEST_SECONDS = 300
CPU = "CPU of"
DISK = "disk of the topic"
SEGMENTS = "/var/lib/kafka/data/*/*.log"

METHOD = """\
The difference between before and after, per question, after ten thousand that do not count. Each question is new, has a
reference answer and is accepted at its first attempt. The disk of a topic is its log on the broker. Redis: memory of
one more answer, and commands."""

Levels = Mapping[tuple[str, str], float]
"""Cumulative usage by name and unit."""


def per_question(before: Levels, after: Levels, count: int) -> list[Run]:
    """Returns the usage per question; values that did not exist before count from 0."""
    return [
        {"what": name, "unit": unit, "per question": (level - before.get((name, unit), 0)) / count}
        for (name, unit), level in after.items()
    ]


def topic_bytes(counted: str) -> dict[str, int]:
    """Adds up the sizes of each topic's segments.

    Args:
        counted: Output of `wc -c`: bytes and `.../TOPIC-PARTITION/SEGMENT.log`, and a total.

    Returns:
        Bytes by topic.
    """
    sizes: dict[str, int] = {}
    for line in counted.splitlines():
        size, _, path = line.strip().partition(" ")
        if path.endswith(".log"):
            topic = path.split("/")[-2].rpartition("-")[0]
            sizes[topic] = sizes.get(topic, 0) + int(size)
    return sizes


def levels(fleet: Fleet, workers: Workers, database: Database) -> Levels:
    """Reads all counters that a question may increase."""
    services: dict[str, list[Container]] = {SERVICE: workers.containers}
    for each in fleet.containers():  # without its own llm-consumers, which are stopped
        services.setdefault(each.labels["com.docker.compose.service"], []).append(each)
    found = {(f"{CPU} {name}", "ms"): cpu_seconds(services[name]) * 1000 for name in sorted(services)}
    counted = fleet.exec("kafka", "sh", "-c", f"wc -c {SEGMENTS}")
    found |= {(f"{DISK} {topic}", "bytes"): size for topic, size in sorted(topic_bytes(counted).items())}
    [(tables, written, transactions)] = database.rows(
        """
        SELECT (SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables),
               pg_current_wal_lsn() - '0/0',
               (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())
        """
    )
    redis = fleet.cache.info()
    return found | {
        ("tables and indexes of PostgreSQL", "bytes"): float(tables),
        ("write-ahead log of PostgreSQL", "bytes"): float(written),
        ("transactions of PostgreSQL", ""): float(transactions),
        ("memory of Redis", "bytes"): float(redis["used_memory"]),
        ("commands of Redis", ""): float(redis["total_commands_processed"]),
    }


@study(
    "Which resources does a question take?",
    METHOD,
    option("--questions", type=int, default=5000, help="(default: 5000)"),
    option("--concurrency", type=int, default=16, help="calls in flight in each worker (default: 16)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    provider, client = instant_provider(), Client()

    def ask(count: int) -> None:
        beginning, texts = unique_questions(count)
        since = time.time()
        asking = client.post(f"{STORAGE}/query", [question(text, REFERENCE) for text in texts], CONNECTIONS)
        wait_until_completed(database, beginning, count, since, LONGEST_SECONDS)
        asking.result().require(202)

    try:
        with (
            idle_fleet() as fleet,
            fake_scorer(fleet),
            Workers(
                fleet, provider.base_url, {"LLM_CONCURRENCY": str(options.concurrency * WORKERS)}, WORKERS
            ) as workers,
        ):
            wait_for_members(SERVICE, WORKERS)
            database = Database()
            ask(WARM_UP)
            before = levels(fleet, workers, database)
            ask(options.questions)
            runs += per_question(before, levels(fleet, workers, database), options.questions)
            database.close()
    finally:
        client.close()
        provider.close()
    return Findings()


if __name__ == "__main__":
    main()
