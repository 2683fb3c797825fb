"""Runs the Celery baseline in containers on the fleet's network."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from docker.models.containers import Container

from studies.fleet.environment.containers import running_container
from studies.fleet.environment.database import Database, address, separate_database
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


@dataclass(frozen=True)
class Baseline:
    """The running Celery baseline.

    Attributes:
        database: The database of its answers.
        containers: All of its containers.
    """

    database: Database
    containers: Sequence[Container]


@contextmanager
def celery_baseline(
    fleet: Fleet, provider_url: str, layout: Layout, concurrency: int, prefetch: int
) -> Iterator[Baseline]:
    """Runs the Celery baseline in its own containers, on the fleet's PostgreSQL (in its own database).

    Its broker is its own Redis, because the fleet's evicts keys when it is full, and writes nothing to disk.

    Args:
        fleet: The fleet, whose network and PostgreSQL it uses.
        provider_url: Address of the model.
        layout: How the workers share the work.
        concurrency: Threads of each generating worker.
        prefetch: Tasks that a worker reserves for each of its threads.
    """
    with separate_database(BASELINE_DATABASE) as database, ExitStack() as stack:
        containers: list[Container] = []

        def run(image: str, name: str, **options: Any) -> None:
            container = running_container(fleet, image, name, mem_limit="512m", **options)
            containers.append(stack.enter_context(container))

        environment = {
            "BROKER_URL": "redis://celery-redis:6379/0",
            "CACHE_URL": "redis://redis:6379/1",
            "POSTGRES_URL": address(BASELINE_DATABASE),
            "LLM_BASE_URL": provider_url,
            "PREFETCH": str(prefetch),
        }
        run(
            fleet.container("redis").attrs["Config"]["Image"],
            "celery-redis",
            # Acknowledged writes are on disk within a second and are never evicted.
            command=["redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir", "/tmp"],
        )
        wait_for_port("celery-redis", 6379)
        gunicorn = "gunicorn --worker-class gthread --threads 64 --keep-alive 30 --worker-tmp-dir /dev/shm"
        run(
            BASELINE_IMAGE,
            "celery-web",
            command=[*gunicorn.split(), "--no-control-socket", "--bind", "0.0.0.0:5001", f"{_PACKAGE}.web:app"],
            environment=environment,
        )
        worker = f"celery --app {_PACKAGE}.tasks worker --pool threads --without-gossip --without-mingle"
        for number, queues in enumerate(_QUEUES[layout]):
            threads = str(_OTHER_THREADS.get(queues, concurrency))
            run(
                BASELINE_IMAGE,
                f"celery-worker-{number}",
                command=[*worker.split(), "--loglevel", "WARNING", "--concurrency", threads, "--queues", queues],
                environment=environment,
            )
        wait_for_port("celery-web", 5001)
        _wait_for_workers(containers[-1], len(_QUEUES[layout]))
        yield Baseline(database, containers)


def _wait_for_workers(newest: Container, count: int) -> None:
    ping = ["celery", "--app", f"{_PACKAGE}.tasks", "inspect", "ping", "--timeout", "5"]

    def online() -> bool:
        output = newest.exec_run(ping).output
        assert isinstance(output, bytes)  # no stream was requested
        return f"{count} nodes online" in output.decode(errors="replace")

    eventually(online, f"{count} workers of the baseline are online", 90)
