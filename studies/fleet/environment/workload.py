"""One workload, measured alternately with the fleet and the baseline."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from docker.models.containers import Container

from studies.fleet.environment.celery import BASELINE_URL, Layout, celery_baseline
from studies.fleet.environment.containers import cpu_seconds
from studies.fleet.environment.database import Database
from studies.fleet.environment.fakes import REFERENCE, instant_provider
from studies.fleet.environment.http_load import Client, question
from studies.fleet.environment.questions import unique_questions
from studies.fleet.environment.waiting import wait_for_members, wait_until_completed
from studies.reporting.results import Run
from tests.fleet import STORAGE, Fleet
from tests.workers import SERVICE, Workers

WARM_UP = 3000
"""Unmeasured questions of each side, because JVMs are slow until they have compiled their hot code."""
WORKERS = 2
BACKGROUND = ("postgres", "redis")
"""Services of the fleet that the baseline also uses."""


@dataclass(frozen=True)
class Side:
    """A side that is measured: the fleet, or a baseline.

    Attributes:
        name: Shown in the raw numbers.
        layout: Layout of the baseline's workers; None for the fleet.
        concurrency: Calls of the model in flight in each of two workers.
    """

    name: str
    layout: Layout | None
    concurrency: int


class Workload:
    """Measures sides in one scenario."""

    def __init__(
        self, fleet: Fleet, client: Client, latency_seconds: float, count: int, connections: int, workers: int = WORKERS
    ) -> None:
        """Creates the workload of a scenario.

        Args:
            fleet: The fleet, with the fake scorer.
            client: The process that sends requests.
            latency_seconds: Latency of the fake model.
            count: Questions of each run.
            connections: Connections of the client.
            workers: Replicas of llm-consumer.
        """
        self._fleet = fleet
        self._client = client
        self._latency = latency_seconds
        self._count = count
        self._connections = connections
        self._workers = workers

    def run(self, plan: Sequence[tuple[int, Side]]) -> list[Run]:
        """Measures the sides in the order of the plan."""
        concurrency = next(side.concurrency for _, side in plan if side.layout is None)
        provider = instant_provider(self._latency)
        runs: list[Run] = []
        try:
            with Workers(
                self._fleet, provider.base_url, {"LLM_CONCURRENCY": str(concurrency * self._workers)}, self._workers
            ) as workers:
                wait_for_members(SERVICE, self._workers)
                for number, side in plan:
                    measured = self._side(side, provider.base_url, workers)
                    runs.append({"model": f"{self._latency:g} s", "round": number, "side": side.name, **measured})
                    print(runs[-1], flush=True)
        finally:
            provider.close()
        return runs

    def _side(self, side: Side, provider_url: str, workers: Workers) -> Run:
        own = self._fleet.containers()
        background = [each for each in own if each.labels["com.docker.compose.service"] in BACKGROUND]
        idle = [each for each in own if each not in background]
        if side.layout is None:
            database = Database()
            try:
                run = self._measure(STORAGE, database, lambda: [*own, *workers.containers])
            finally:
                database.close()
            return run
        # Short tasks are prefetched. Prefetching long ones would leave a worker idle while they wait in another.
        prefetch = 1 if self._latency else 4
        with celery_baseline(self._fleet, provider_url, side.layout, side.concurrency, prefetch) as baseline:
            before = cpu_seconds(idle)
            run = self._measure(BASELINE_URL, baseline.database, lambda: [*background, *baseline.containers])
            return run | {"idle fleet, CPU s": cpu_seconds(idle) - before}

    def _measure(self, url: str, database: Database, containers: Callable[[], list[Container]]) -> Run:
        self._ask(url, database, min(WARM_UP, self._count))
        before = cpu_seconds(containers())
        accepted, seconds = self._ask(url, database, self._count)
        spent = cpu_seconds(containers()) - before
        return {
            "questions": self._count,
            "accepted/s": accepted,
            "completed/s": self._count / seconds,
            "seconds": seconds,
            "CPU ms/question": spent / self._count * 1000,
        }

    def _ask(self, url: str, database: Database, count: int) -> tuple[float, float]:
        """Asks new questions; returns the accepted questions per second, and the seconds until the last row."""
        beginning, texts = unique_questions(count)
        bodies = [question(text, REFERENCE) for text in texts]
        since = time.time()
        asking = self._client.post(f"{url}/query", bodies, self._connections)
        longest = 60 + count * (self._latency + 0.2)

        def watch() -> None:
            if asking.done():
                asking.result().require(200, 202)

        finished = wait_until_completed(database, beginning, count, since, longest, watch)
        load = asking.result().require(200, 202)
        return load.rate, finished - load.started
