"""Measures the latency in addition to model and scorer: `python -m studies.fleet.latency`, in the tests' container.

The fleet and the Celery baseline alternately get one question per second. Model and scorer are fakes that answer at
once, so that the time from `POST /query` to the row in PostgreSQL is the latency of the other parts. The time stamps of
the rows show the stages.
"""

import argparse
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from flink_job.cluster import Cluster
from studies.fleet.environment.celery import BASELINE_DATABASE, BASELINE_URL, celery_baseline
from studies.fleet.environment.containers import running_container
from studies.fleet.environment.database import Database
from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fakes import REFERENCE, fake_scorer, instant_provider
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_for_members
from studies.reporting.results import Comparison, Run
from studies.reporting.statistics import percentile
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import STORAGE, Fleet, eventually
from tests.workers import SERVICE, Workers

WARM_UP = 10
JOBMANAGER = "http://flink-jobmanager:8081"
WORKERS = 2
THREADS = 16
"""Limit of questions in flight."""

POLL_SECONDS = 0.005
LONGEST_SECONDS = 30.0
FLEET, CELERY, EXACTLY_ONCE = "fleet", "celery", "fleet, exactly once"
CHECKPOINT_SECONDS = 30.0
SELDOM_SECONDS = 0.25
"""Time between polls of a question that takes as long as a checkpoint, when dozens are in flight."""
WAITING_THREADS = 40
WAITING_SECONDS = 120.0

METHOD = f"""\
Questions are due at a steady rate, independent of earlier ones. From its `POST` on, the row of each is polled by its id
every {POLL_SECONDS * 1000:g} ms on both sides, which is the maximum error. The fakes answer at once, and nothing is
subtracted for them. The stages end with the model's answer, with the decision (of the baseline: with its write), and
with the row. Exactly once: the job is submitted again with transactional sinks (DELIVERY_GUARANTEE) and a checkpoint
every {CHECKPOINT_SECONDS:g} s, with which its rows become visible; they are polled every
{SELDOM_SECONDS * 1000:g} ms."""


@dataclass(frozen=True)
class Way:
    """The times of one question, in milliseconds from its `POST`.

    Attributes:
        answered: Time of the model's answer.
        decided: Time of the decision.
        kept: Time at which the row was seen.
    """

    answered: float
    decided: float
    kept: float


def summary(side: str, number: int, ways: Sequence[Way]) -> Run:
    """Returns the percentiles of one round, in milliseconds."""
    kept = [way.kept for way in ways]
    return {
        "side": side,
        "round": number,
        "questions": len(ways),
        "p50": percentile(kept, 0.5),
        "p90": percentile(kept, 0.9),
        "p99": percentile(kept, 0.99),
        "most": max(kept),
        "to the answer, p50": percentile([way.answered for way in ways], 0.5),
        "to the decision, p50": percentile([way.decided - way.answered for way in ways], 0.5),
        "to the row, p50": percentile([way.kept - way.decided for way in ways], 0.5),
    }


def compare(ways: Sequence[Way], exactly_once: Sequence[Way] = ()) -> tuple[Comparison, ...]:
    """Compares the fleet's latencies with the goals, and with those of transactional sinks if measured."""
    kept = [way.kept for way in ways]
    goals = tuple(
        Comparison(
            figure=f"added latency at 1 question/s, {name}",
            unit="ms",
            fleet=percentile(kept, share),
            against=None,
            baseline="",
            goal=goal,
            sense="at most",
        )
        for name, share, goal in (("p50", 0.5, 150), ("p99", 0.99, 500))
    )
    if not exactly_once:
        return goals
    return (
        *goals,
        Comparison(
            figure="added latency, p50, beside transactional sinks",
            unit="ms",
            fleet=percentile(kept, 0.5),
            against=percentile([way.kept for way in exactly_once], 0.5),
            baseline=f"EXACTLY_ONCE, checkpoints every {CHECKPOINT_SECONDS:g} s",
            goal=1 / 50,
            sense="at most",
        ),
    )


@contextmanager
def exactly_once_job(fleet: Fleet) -> Iterator[None]:
    """Runs the job with transactional sinks instead of the fleet's; it starts at the committed offsets.

    Afterwards the fleet's job is restored from its own newest checkpoint. It scores the same answers again, and
    storage-writer ignores them as duplicates.
    """
    [submitter] = fleet.containers("flink-job")
    cluster = Cluster(JOBMANAGER)
    folder = f"/opt/flink-checkpoints/benchmark-{uuid.uuid4().hex}"

    def cancel() -> None:
        for job in cluster.jobs().active:
            cluster.cancel(job)
        eventually(lambda: not cluster.jobs().active, "the job is cancelled", 60)

    submitter.stop(timeout=15)
    try:
        cancel()
        with running_container(
            fleet,
            submitter.attrs["Config"]["Image"],
            "flink-job",
            "benchmark-flink-job",
            command=["submit"],
            environment=[
                *submitter.attrs["Config"]["Env"],
                "DELIVERY_GUARANTEE=exactly-once",
                f"CHECKPOINT_INTERVAL_SECONDS={CHECKPOINT_SECONDS}",
                f"CHECKPOINT_DIR={folder}",
            ],
            volumes_from=[submitter.id],
            mem_limit="768m",
        ):
            eventually(fleet.job_works, "the job with transactional sinks runs", 180, interval=1)
            yield
    finally:
        cancel()
        fleet.exec("flink-jobmanager", "rm", "-rf", folder)
        submitter.start()
        eventually(fleet.job_works, "the fleet's job runs again", 180, interval=1)


class Asking:
    """Asks at a steady rate and polls each question until its row exists."""

    def __init__(
        self,
        url: str,
        database: str | None,
        rate: float,
        *,
        threads: int = THREADS,
        poll_seconds: float = POLL_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        """Creates the client.

        Args:
            url: Address of the API.
            database: Name of the database; None: the fleet's.
            rate: Questions per second.
            threads: Limit of questions in flight, each with its own connection.
            poll_seconds: Time between polls for a row.
            longest_seconds: Time after which a missing row is an error.
        """
        self._threads = threads
        self._poll_seconds = poll_seconds
        self._longest = longest_seconds
        self._url = f"{url}/query"
        self._database = database
        self._rate = rate
        self._local = threading.local()
        self._opened: list[Database] = []

    def ask(self, texts: Sequence[str]) -> list[Way]:
        """Asks all questions and waits for their rows."""
        began = time.monotonic() + 0.5
        try:
            with ThreadPoolExecutor(self._threads, initializer=self._connect) as pool:
                due = [began + number / self._rate for number in range(len(texts))]
                return list(pool.map(self._follow, texts, due))
        finally:
            for each in self._opened:
                each.close()
            self._opened.clear()

    def _connect(self) -> None:
        self._local.database = Database(self._database)
        self._local.session = requests.Session()
        self._opened.append(self._local.database)

    def _follow(self, text: str, due: float) -> Way:
        time.sleep(max(0.0, due - time.monotonic()))
        posted, clock = time.time(), time.perf_counter()
        body: dict[str, Any] = {"question_text": text, "original_answer": REFERENCE}
        reply = self._local.session.post(self._url, json=body, timeout=LONGEST_SECONDS)
        if reply.status_code != 202:
            raise MeasurementError(f"{self._url} answered {reply.status_code}")
        question_id = reply.json()["question_id"]
        while True:
            rows = self._local.database.rows(
                """
                SELECT extract(epoch FROM a.generated_at), extract(epoch FROM r.created_at)
                FROM responses AS r JOIN attempts AS a USING (question_id) WHERE question_id = %s
                """,
                question_id,
            )
            kept = time.perf_counter() - clock
            if rows:
                [(answered, decided)] = rows
                return Way((float(answered) - posted) * 1000, (float(decided) - posted) * 1000, kept * 1000)
            if kept > self._longest:
                raise MeasurementError(f"no row of {question_id} within {self._longest:g} s")
            time.sleep(self._poll_seconds)


@study(
    "Which latency, in milliseconds, is added to model and scorer at 1 question/s?",
    METHOD,
    option("--questions", type=int, default=100, help="questions of each round (default: 100)"),
    option("--rounds", type=int, default=2, help="rounds of each side, alternating (default: 2)"),
    option("--rate", type=float, default=1, help="questions per second (default: 1)"),
    option("--exactly-once", type=int, default=90, help="questions through transactional sinks, 0: none (default: 90)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    ways: dict[str, list[Way]] = {FLEET: [], CELERY: [], EXACTLY_ONCE: []}
    provider = instant_provider()
    try:
        with (
            idle_fleet() as fleet,
            fake_scorer(fleet),
            Workers(fleet, provider.base_url, {"LLM_CONCURRENCY": "8"}, WORKERS),
            celery_baseline(fleet, provider.base_url, "kinds", 16, 4),
        ):
            wait_for_members(SERVICE, WORKERS)
            sides = {
                FLEET: Asking(STORAGE, None, options.rate),
                CELERY: Asking(BASELINE_URL, BASELINE_DATABASE, options.rate),
            }
            for asking in sides.values():
                asking.ask(unique_questions(WARM_UP)[1])
            for number in range(options.rounds):
                for side in (FLEET, CELERY) if number % 2 == 0 else (CELERY, FLEET):
                    found = sides[side].ask(unique_questions(options.questions)[1])
                    ways[side] += found
                    runs.add(summary(side, number + 1, found))
            if options.exactly_once:
                waiting = Asking(
                    STORAGE,
                    None,
                    options.rate,
                    threads=WAITING_THREADS,
                    poll_seconds=SELDOM_SECONDS,
                    longest_seconds=WAITING_SECONDS,
                )
                with exactly_once_job(fleet):
                    ways[EXACTLY_ONCE] += waiting.ask(unique_questions(options.exactly_once)[1])
                runs.add(summary(EXACTLY_ONCE, 1, ways[EXACTLY_ONCE]))
    finally:
        provider.close()
    return Findings(compare(ways[FLEET], ways[EXACTLY_ONCE]))


if __name__ == "__main__":
    main()
