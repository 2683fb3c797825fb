"""Measures the latency of the API: `python -m studies.fleet.api`, in the tests' container.

Compares a cached answer with an empty Flask view under the same gunicorn settings, and a new question (202) with the
minimum for its guarantee: one insert and one acknowledged write to a topic, in a loop over the same number of
connections, without HTTP. Both sides alternate in rounds; the median of each counts.
"""

import argparse
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import confluent_kafka
import confluent_kafka.admin

from pipeline import postgres
from storage_service.settings import StorageSettings
from studies.fleet.environment.containers import own_image, running_container
from studies.fleet.environment.database import Database, connect
from studies.fleet.environment.errors import MeasurementError
from studies.fleet.environment.fakes import REFERENCE, fake_scorer, instant_provider
from studies.fleet.environment.fleet import idle_fleet
from studies.fleet.environment.http_load import Client, Load, question
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_for_members, wait_for_port, wait_until_completed
from studies.reporting.results import Comparison, Run, median
from studies.reporting.statistics import percentile
from studies.reporting.study import Findings, Runs, option, study
from tests.fleet import CLIENT, STORAGE, Fleet
from tests.workers import SERVICE, Workers

WORKERS = 2
EMPTY_URL = "http://empty-view:5001"
SCRATCH = "benchmark-bare"
"""Name of the topic and the table of the bare loop."""

WARM_UP = 200
CACHED, EMPTY, ACCEPTED, BARE = "cached answer", "empty view", "accepted question", "bare insert and produce"
BUSY = "accepted question, fleet at work"

METHOD = """\
Cached: the same answered question at full speed, compared with an empty Flask view under the same gunicorn settings.
Accepted: new questions at full speed, which wait in their topic until the round is over; in "fleet at work" the fleet
answers them meanwhile, on the same cores. Bare: as many threads as the client has connections insert the same row over
as many database connections as storage-service has, commit, produce the body with the same producer settings and wait
for its acknowledgement, without HTTP."""


def summary(case: str, number: int, rate: float, latencies: Sequence[float]) -> Run:
    """Returns the numbers of one round: requests per second, and percentiles of latencies in milliseconds."""
    return {
        "case": case,
        "round": number,
        "requests": len(latencies),
        "requests/s": rate,
        "p50 ms": percentile(latencies, 0.5) * 1000,
        "p99 ms": percentile(latencies, 0.99) * 1000,
    }


def compare(runs: Sequence[Run]) -> tuple[Comparison, ...]:
    """Compares the medians of the pairs."""

    def of(case: str, column: str) -> float:
        return median([run for run in runs if run["case"] == case], column)

    rates = tuple(
        Comparison(
            figure=f"{case}, requests/s",
            unit="requests/s",
            fleet=of(case, "requests/s"),
            against=of(baseline, "requests/s"),
            baseline=baseline,
            goal=0.5,
        )
        for case, baseline in ((CACHED, EMPTY), (ACCEPTED, BARE))
    )
    p99 = Comparison(
        figure=f"{CACHED}, p99",
        unit="ms",
        fleet=of(CACHED, "p99 ms"),
        against=of(EMPTY, "p99 ms"),
        baseline=EMPTY,
        goal=2,
        sense="at most",
    )
    return (*rates, p99)


@contextmanager
def empty_view(fleet: Fleet) -> Iterator[None]:
    """Runs the empty view on the fleet's network."""
    settings = StorageSettings()
    gunicorn = f"gunicorn --worker-class gthread --workers 1 --threads {settings.http_threads} --keep-alive 30"
    with running_container(
        fleet,
        own_image(fleet),
        "empty-view",
        command=[
            *gunicorn.split(),
            *("--worker-tmp-dir", "/dev/shm", "--no-control-socket", "--logger-class"),
            *("pipeline.gunicorn_log.EventLogger", "--bind", "0.0.0.0:5001", "studies.baselines.empty_view:app"),
        ],
        mem_limit="256m",
    ):
        wait_for_port("empty-view", 5001)
        yield


class Bare:
    """The bare loop: inserts a row and produces a message."""

    def __init__(self, connections: int) -> None:
        """Creates table and topic.

        Args:
            connections: Number of concurrent threads.
        """
        self._threads = connections
        self._database = Database()
        self._admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
        self._drop()
        self._database.rows(f'CREATE TABLE "{SCRATCH}" (LIKE questions INCLUDING ALL)')
        [created] = self._admin.create_topics([confluent_kafka.admin.NewTopic(SCRATCH, 3)]).values()
        created.result(30)
        self._producer = confluent_kafka.Producer(
            {
                **CLIENT,
                "enable.idempotence": True,
                "linger.ms": 2,
                "compression.type": "lz4",
            }
        )
        self._stop = threading.Event()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._poller.start()

    def run(self, bodies: Sequence[bytes]) -> tuple[float, list[float]]:
        """Runs the loop for each body; returns the rate per second, and the seconds of each."""
        pool = [connect() for _ in range(postgres.POOL_SIZE)]
        free, lock = threading.Semaphore(len(pool)), threading.Lock()

        def one(body: bytes) -> float:
            began = time.perf_counter()
            key = uuid.uuid4().hex
            with free:
                with lock:
                    connection = pool.pop()
                with connection.cursor() as cursor:
                    cursor.execute(
                        f'INSERT INTO "{SCRATCH}" (question_id, question_text, original_answer, asked_at) '
                        "VALUES (%s, %s, %s, now()) ON CONFLICT (question_id) DO NOTHING RETURNING question_id",
                        (key, body.decode(), REFERENCE),
                    )
                with lock:
                    pool.append(connection)
            acknowledged = threading.Event()
            errors: list[confluent_kafka.KafkaError] = []

            def delivered(error: confluent_kafka.KafkaError | None, _message: confluent_kafka.Message) -> None:
                errors.extend([error] if error else [])
                acknowledged.set()

            self._producer.produce(SCRATCH, body, key.encode(), on_delivery=delivered)
            if not acknowledged.wait(30) or errors:
                raise MeasurementError(f"a write was not acknowledged: {errors}")
            return time.perf_counter() - began

        try:
            began = time.perf_counter()
            with ThreadPoolExecutor(self._threads) as threads:
                latencies = list(threads.map(one, bodies))
            return len(bodies) / (time.perf_counter() - began), latencies
        finally:
            for each in pool:
                each.close()

    def close(self) -> None:
        """Deletes table and topic."""
        self._stop.set()
        self._poller.join()
        self._drop()
        self._database.close()

    def _drop(self) -> None:
        self._database.rows(f'DROP TABLE IF EXISTS "{SCRATCH}"')
        if SCRATCH in self._admin.list_topics(timeout=10).topics:
            [deleted] = self._admin.delete_topics([SCRATCH]).values()
            deleted.result(30)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)


def _load_run(case: str, number: int, load: Load) -> Run:
    return summary(case, number, load.rate, load.latencies)


@study(
    "How fast are a cached answer and the acceptance of a new question?",
    METHOD,
    option("--requests", type=int, default=5000, help="cached answers of each round (default: 5000)"),
    option("--questions", type=int, default=2000, help="new questions of each round (default: 2000)"),
    option("--rounds", type=int, default=3, help="(default: 3)"),
    option("--connections", type=int, default=32, help="(default: 32)"),
)
def main(options: argparse.Namespace, runs: Runs) -> Findings:
    """Measures."""
    client, provider = Client(), instant_provider()

    def post(url: str, bodies: Sequence[bytes], status: int) -> Load:
        return client.post(f"{url}/query", bodies, options.connections).result().require(status)

    try:
        with (
            idle_fleet() as fleet,
            fake_scorer(fleet),
            Workers(fleet, provider.base_url, {"LLM_CONCURRENCY": "32"}, WORKERS) as workers,
            empty_view(fleet),
        ):
            wait_for_members(SERVICE, WORKERS)
            database, bare = Database(), Bare(options.connections)
            try:
                beginning, [known] = unique_questions(1)
                body = question(known, REFERENCE)
                post(STORAGE, [body], 202)
                wait_until_completed(database, beginning, 1, time.time() - 60, 60)
                for url in (STORAGE, EMPTY_URL):
                    post(url, [body] * WARM_UP, 200)
                for number in range(1, options.rounds + 1):
                    for case, url in ((CACHED, STORAGE), (EMPTY, EMPTY_URL)):
                        runs.add(_load_run(case, number, post(url, [body] * options.requests, 200)))
                    for case in (ACCEPTED, BUSY):
                        if case == ACCEPTED:
                            workers.scale(0)
                        beginning, texts = unique_questions(options.questions)
                        bodies = [question(text, REFERENCE) for text in texts]
                        load = post(STORAGE, bodies, 202)
                        runs.add(_load_run(case, number, load))
                        workers.scale(WORKERS)
                        wait_until_completed(database, beginning, len(texts), load.started, 60 + len(texts) * 0.2)
                    runs.add(summary(BARE, number, *bare.run(bodies)))
            finally:
                bare.close()
                database.close()
    finally:
        provider.close()
        client.close()
    return Findings(compare(runs))


if __name__ == "__main__":
    main()
