"""Runs the Celery baseline in containers on the fleet's network."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from docker.models.containers import Container

from pipeline.settings import PostgresSettings
from studies.fleet.environment.containers import run_container
from studies.fleet.environment.database import Database, create_database, drop_database
from studies.fleet.environment.waiting import wait_for_port
from tests.fleet import Fleet, eventually

BASELINE_IMAGE = "askfleet/celery-baseline"
BASELINE_DATABASE = "celery_baseline"
BASELINE_URL = "http://celery-web:5001"
_PACKAGE = "studies.baselines.celery"

Layout = Literal["kinds", "alike"]
"""How the baseline's worker processes share the work.

kinds: as in the fleet, two generate, one scores, one persists; alike: two do everything.
"""

_QUEUES: dict[Layout, Sequence[str]] = {
    "kinds": ("generate", "generate", "score", "persist"),
    "alike": ("generate,score,persist", "generate,score,persist"),
}
_OTHER_THREADS = {"score": 32, "persist": 8}
"""As many as the fleet's scorer calls in flight, and twice its writes."""


@dataclass
class Baseline(AbstractContextManager["Baseline"]):
    """The Celery baseline in its own containers, on the fleet's PostgreSQL (in its own database).

    Its broker is its own Redis, because the fleet's evicts keys when it is full, and writes nothing to disk.

    Attributes:
        fleet: The fleet, whose network and PostgreSQL it uses.
        provider_url: Address of the model.
        layout: How the workers share the work.
        concurrency: Threads of each generating worker.
        prefetch: Tasks that a worker reserves for each of its threads.
    """

    fleet: Fleet
    provider_url: str
    layout: Layout
    concurrency: int
    prefetch: int

    def __post_init__(self) -> None:
        self.containers: list[Container] = []
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The database of its answers."""
        assert self._database
        return self._database

    def __enter__(self) -> "Baseline":
        try:
            self._create_database()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _create_database(self) -> None:
        self._database = create_database(BASELINE_DATABASE)

    def _start(self) -> None:
        password = PostgresSettings().postgres_password.get_secret_value()
        environment = {
            "BROKER_URL": "redis://celery-redis:6379/0",
            "CACHE_URL": "redis://redis:6379/1",
            "POSTGRES_URL": f"postgresql+psycopg2://user:{password}@postgres/{BASELINE_DATABASE}",
            "LLM_BASE_URL": self.provider_url,
            "PREFETCH": str(self.prefetch),
        }
        redis_image = self.fleet.container("redis").attrs["Config"]["Image"]
        self._run(
            redis_image,
            "celery-redis",
            # Acknowledged writes are on disk within a second and are never evicted.
            command=["redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir", "/tmp"],
        )
        wait_for_port("celery-redis", 6379)
        gunicorn = "gunicorn --worker-class gthread --threads 64 --keep-alive 30 --worker-tmp-dir /dev/shm"
        self._run(
            BASELINE_IMAGE,
            "celery-web",
            command=[*gunicorn.split(), "--no-control-socket", "--bind", "0.0.0.0:5001", f"{_PACKAGE}.web:app"],
            environment=environment,
        )
        for number, queues in enumerate(_QUEUES[self.layout]):
            threads = _OTHER_THREADS.get(queues, self.concurrency)
            worker = f"celery --app {_PACKAGE}.tasks worker --pool threads --without-gossip --without-mingle"
            self._run(
                BASELINE_IMAGE,
                f"celery-worker-{number}",
                command=[*worker.split(), "--loglevel", "WARNING", "--concurrency", str(threads), "--queues", queues],
                environment=environment,
            )
        wait_for_port("celery-web", 5001)
        count, newest = len(_QUEUES[self.layout]), self.containers[-1]
        ping = ["celery", "--app", f"{_PACKAGE}.tasks", "inspect", "ping", "--timeout", "5"]

        def online() -> bool:
            output = newest.exec_run(ping).output
            assert isinstance(output, bytes)  # no stream was requested
            return f"{count} nodes online" in output.decode(errors="replace")

        eventually(online, f"{count} workers of the baseline are online", 90)

    def _run(self, image: str, name: str, **options: Any) -> None:
        self.containers.append(run_container(self.fleet, image, name, name, mem_limit="512m", **options))

    def _end(self) -> None:
        for each in self.containers:
            each.remove(force=True, v=True)
        if self._database:
            self._database.close()
            drop_database(BASELINE_DATABASE)
