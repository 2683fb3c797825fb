"""Measures when 1,000 quota errors are retried: `python -m studies.fleet.retries`, in the tests' container.

Each must wait for 60 s, and none longer because of the others. The failed calls are written to their topic at once; the
broker's timestamp of the record that asks again gives the time. The memory of the waiting consumer is measured, too.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import confluent_kafka
from docker.models.containers import Container

from pipeline import topics
from pipeline.delays import QUOTA
from pipeline.messages import ProviderError, Question, RetryableFailure
from pipeline.question import question_id
from studies.fleet.environment.containers import memory_mib
from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fakes import instant_provider
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_for_members, wait_until_drained
from studies.reporting.results import Comparison, Run
from studies.reporting.statistics import percentile
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import CLIENT, follow
from tests.workers import SERVICE, Workers

CONSUMER = "retry-quota-consumer"
WAIT_SECONDS = QUOTA.seconds[0]
LONGEST_SECONDS = WAIT_SECONDS + 120
GROWTH = 1.1
"""Memory counts as flat if it grows by less than this factor."""

METHOD = f"""\
Failed calls with a quota error and the same time of failure are written at once; each waits for {WAIT_SECONDS:g} s plus
up to {QUOTA.jitter_seconds:g} s of jitter. Late: from the end of the wait without jitter until the broker has the
question again. Memory is that of {CONSUMER} without the page cache. A fake model answers the questions."""


def failed_calls(count: int, failed_at: datetime) -> list[RetryableFailure]:
    """Returns failed calls of new questions; they have no reference, so that nothing is scored."""
    calls = []
    for text in unique_questions(count)[1]:
        question = Question(question_id=question_id(text), question_text=text, asked_at=failed_at)
        error = ProviderError(type="quota", status_code=429, message="made by a benchmark")
        calls.append(question.convert_to(RetryableFailure, error=error, failed_at=failed_at))
    return calls


def summary(failed_at: float, republished: Sequence[float], memory: Sequence[float]) -> Run:
    """Returns the raw numbers of one run.

    Args:
        failed_at: When the calls failed, in seconds since the epoch.
        republished: When each question was asked again.
        memory: MiB of the consumer: before, during, after.
    """
    late = [at - failed_at - WAIT_SECONDS for at in republished]
    return {
        "errors": len(republished),
        "all again after, s": max(republished) - failed_at,
        "late p50, s": percentile(late, 0.5),
        "late p99, s": percentile(late, 0.99),
        "earliest, s": min(late),
        "MiB before": memory[0],
        "MiB at most": max(memory),
        "MiB after": memory[-1],
    }


def compare(runs: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compares the worst run with the goals."""
    worst = max(runs, key=lambda run: float(run["all again after, s"]))
    grown = max(runs, key=lambda run: float(run["MiB after"]) / float(run["MiB before"]))
    return (
        Comparison(
            figure=f"{worst['errors']} quota errors, all asked again",
            unit="s",
            fleet=float(worst["all again after, s"]),
            against=None,
            baseline="",
            goal=65,
            sense="at most",
        ),
        Comparison(
            figure=f"{CONSUMER}, memory after",
            unit="MiB",
            fleet=float(grown["MiB after"]),
            against=float(grown["MiB before"]),
            baseline="memory before",
            goal=GROWTH,
            sense="at most",
        ),
    )


def asked_again(ids: set[str], on_poll: Callable[[], object], fail: Callable[[], None]) -> dict[str, float]:
    """Reads `questions-pending` until all of these questions were asked again.

    Args:
        ids: Ids of the questions.
        on_poll: Called about twice per second.
        fail: Writes the errors; called when the end of the topic is known.

    Returns:
        The broker's timestamp of each question, in seconds since the epoch.
    """
    deadline, found = time.monotonic() + LONGEST_SECONDS, dict[str, float]()
    batches = follow(topics.QUESTIONS_PENDING, new=True)
    next(batches)  # reads from here on
    fail()
    for batch in batches:
        on_poll()
        for each in batch:
            if each.question_id in ids:
                found.setdefault(each.question_id, each.at)
        if len(found) == len(ids):
            break
        if time.monotonic() > deadline:
            raise MeasurementError(f"{len(found)} of {len(ids)} questions were asked again in time")
    return found


def produce(calls: Sequence[RetryableFailure]) -> None:
    """Writes failed calls to their topic and waits for acknowledgements."""
    producer = confluent_kafka.Producer(dict(CLIENT))
    for each in calls:
        producer.produce(topics.ERROR_QUOTA, each.to_bytes(), each.question_id.encode())
        producer.poll(0)
    if producer.flush(30):
        raise MeasurementError("the broker did not acknowledge the errors")


def one_round(holder: Container, count: int) -> Run:
    """Writes failed calls at once; measures their retries and the memory of the waiting consumer."""
    now = datetime.now(UTC)
    failed_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    calls = failed_calls(count, failed_at)
    memory = [memory_mib(holder)]
    found = asked_again(
        {each.question_id for each in calls},
        on_poll=lambda: memory.append(memory_mib(holder)),
        fail=lambda: produce(calls),
    )
    memory.append(memory_mib(holder))
    return summary(failed_at.timestamp(), list(found.values()), memory)


@study(
    "1,000 quota errors at once: when are all asked again, and what does waiting cost in memory?",
    METHOD,
    option("--errors", type=int, default=1000, help="errors at once (default: 1000)"),
    option("--rounds", type=int, default=2, help="consecutive rounds (default: 2)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    provider = instant_provider()
    try:
        with idle_fleet() as fleet, Workers(fleet, provider.base_url, {}, 2):
            wait_for_members(SERVICE, 2)
            holder = fleet.container(CONSUMER)
            for _ in range(options.rounds):
                runs.add(one_round(holder, options.errors))
            wait_until_drained(fleet)
    finally:
        provider.close()
    return Findings(compare(runs))


if __name__ == "__main__":
    main()
