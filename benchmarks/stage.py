"""What surrounds a measurement: the fleet with fakes in the place of model and scorer, and the baseline beside it.

Like the system tests, the benchmarks run in a container on the fleet's network (see `tests.fleet`). Everything here is
undone at the end of its context, also when the benchmark is stopped.
"""

import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import confluent_kafka.admin
import docker.errors
import psycopg2
import psycopg2.extensions
from docker.models.containers import Container

from benchmarks import scripted_scorer
from pipeline import topics
from pipeline.settings import PostgresSettings
from tests.fleet import CLIENT, PROJECT, Fleet, eventually
from tests.scripted_provider import ScriptedProvider, answer

ANSWER = "Water boils at one hundred degrees Celsius at sea level."
REFERENCE = "At sea level water boils at 100 degrees Celsius."
BASELINE_IMAGE = "askfleet/celery-baseline"
BASELINE_DATABASE = "celery_baseline"
BASELINE_URL = "http://celery-web:5001"
QUIET_SECONDS = 400
MARKERS = 3 * len(topics.ALL)
LOOK_SECONDS, LAST_LOOKS_SECONDS, LAST = 0.5, 0.05, 0.9
"""Time between looks at how many questions are completed: until this share of them is, and from then on."""

_ASKED = "storage-service"
_SCORER = "score-validator"
_SCORER_ALIASES = [_SCORER, "score_validator"]
_NAME = f"{PROJECT}-benchmark"


def could_not_measure(why: str) -> SystemExit:
    """Makes the error that ends a benchmark."""
    return SystemExit(f"could not measure: {why}")


@contextmanager
def quiet_fleet() -> Iterator[Fleet]:
    """Gives the fleet once it has answered what it was asked before; at the end, what benchmarks asked is deleted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was changed is undone
    fleet = Fleet()
    pending = "SELECT count(*) AS n FROM questions WHERE status = 'pending'"
    eventually(lambda: fleet.sql(pending)[0]["n"] == 0, "no question is pending", QUIET_SECONDS, interval=1)
    eventually(fleet.job_works, "the job runs", QUIET_SECONDS, interval=1)
    await_worked_off(fleet)
    try:
        yield fleet
        await_worked_off(fleet)  # what comes later would be rows again
    finally:
        forget(fleet)


def await_worked_off(fleet: Fleet) -> None:
    """Waits until nobody reads any more; call it before fakes go that have not answered all yet.

    A transaction leaves a marker at the end of a partition, which no reader ever sees: `MARKERS` may stay for ever.
    """
    before = -1

    def settled() -> bool:
        nonlocal before
        unread, before = before, sum(fleet.lags().values())
        return before <= MARKERS and before == unread

    eventually(settled, "all messages are worked off", QUIET_SECONDS, interval=1)


def texts(count: int) -> tuple[str, list[str]]:
    """Makes questions that nobody has asked; returns the beginning that they share, and their texts."""
    beginning = f"Benchmark {uuid.uuid4().hex[:12]}"
    return beginning, [
        f"{beginning}, question {number}: at what temperature does water boil?" for number in range(count)
    ]


def forget(fleet: Fleet) -> None:
    """Deletes what benchmarks asked from the database: fakes answered it, and the dashboard shows what is there."""
    asked = "SELECT question_id FROM questions WHERE question_text ~ '^Benchmark [0-9a-f]{12}, question [0-9]+: '"
    for name in ("responses", "attempts", "call_errors", "failed_questions", "questions"):
        fleet.sql(
            f"WITH gone AS (DELETE FROM {name} WHERE question_id IN ({asked}) RETURNING 1) SELECT count(*) FROM gone"
        )


def instant_provider(latency_seconds: float = 0) -> ScriptedProvider:
    """A fake model that gives every question the same answer after the same time."""
    script = [[answer(ANSWER, latency_seconds)]]
    return ScriptedProvider(lambda _text: script)


class Database:
    """A connection for looking on while others write."""

    def __init__(self, name: str | None = None) -> None:
        """Opens it.

        Args:
            name: Of the database; None: the fleet's.
        """
        self._connection = connect(name)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Runs a statement and returns its rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def connect(name: str | None = None) -> psycopg2.extensions.connection:
    """Opens a connection to a database of the fleet's server (None: to the fleet's own), in autocommit mode."""
    settings = PostgresSettings()
    connection = psycopg2.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=name or settings.postgres_db,
        user=settings.postgres_user,
        password=settings.postgres_password.get_secret_value(),
        connect_timeout=5,
    )
    connection.autocommit = True
    return connection


def create_database(name: str) -> Database:
    """Makes a database with the fleet's tables on the fleet's server, anew, and connects to it."""
    drop_database(name)
    server = Database()
    try:
        server.rows(f"CREATE DATABASE {name}")
    finally:
        server.close()
    made = Database(name)
    for file in sorted(Path("sql/migrations").glob("*.sql")):
        made.rows(file.read_text())
    return made


def drop_database(name: str) -> None:
    """Removes a database if it is there, whoever is connected to it."""
    server = Database()
    try:
        server.rows(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        server.close()


def await_final(
    database: Database,
    beginning: str,
    count: int,
    since: float,
    seconds: float,
    watch: Callable[[], object] = lambda: None,
) -> float:
    """Waits until so many questions are completed.

    Args:
        database: Where they are.
        beginning: Of their texts.
        count: How many.
        since: When the first was asked at the earliest, in seconds since the epoch; the fewer rows are looked at, the
            less looking disturbs.
        seconds: To wait at most.
        watch: Called at each look; it raises when waiting has become pointless.

    Returns:
        When they were, in seconds since the epoch; late by `LAST_LOOKS_SECONDS` and a look at most.

    Raises:
        SystemExit: They were not in time, or one failed.
    """
    deadline = time.monotonic() + seconds
    while True:
        [(completed, failed)] = database.rows(
            """
            SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed')
            FROM questions WHERE asked_at >= to_timestamp(%s) AND question_text LIKE %s
            """,
            since - 1,
            f"{beginning}%",
        )
        at = time.time()
        if completed == count:
            return at
        watch()
        if failed or time.monotonic() > deadline:
            raise could_not_measure(f"{completed} of {count} questions completed, {failed} failed")
        time.sleep(LOOK_SECONDS if completed < count * LAST else LAST_LOOKS_SECONDS)


def await_members(group: str, count: int) -> None:
    """Waits until a consumer group has so many members and is settled."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))

    def settled() -> bool:
        found = admin.describe_consumer_groups([group], request_timeout=10)[group].result(15)
        return len(found.members) == count and found.state == confluent_kafka.ConsumerGroupState.STABLE

    eventually(settled, f"{group} has {count} members", 90, interval=0.5)


def partitions() -> int:
    """Returns how many partitions questions-pending has."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
    return len(admin.list_topics(topics.QUESTIONS_PENDING, timeout=10).topics[topics.QUESTIONS_PENDING].partitions)


def raise_partitions(fleet: Fleet, wanted: int) -> None:
    """Raises the partitions of questions-pending, for good, and waits until the broker knows them.

    storage-service would learn of them with its next look at the topic, within five minutes: it is started again.
    """
    if partitions() < wanted:
        admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
        raised = admin.create_partitions([confluent_kafka.admin.NewPartitions(topics.QUESTIONS_PENDING, wanted)])
        raised[topics.QUESTIONS_PENDING].result(30)
        eventually(lambda: partitions() == wanted, f"{wanted} partitions", 30)
        fleet.container(_ASKED).restart(timeout=15)
        fleet.wait_healthy(_ASKED)


def cpu_seconds(containers: Iterable[Container]) -> float:
    """Returns the CPU time that containers have taken since they were started."""
    spent = 0
    for each in containers:
        figures = each.stats(stream=False, one_shot=True)
        assert isinstance(figures, dict)  # no stream was asked for
        spent += figures["cpu_stats"]["cpu_usage"]["total_usage"]
    return spent / 1e9


def memory_mib(container: Container) -> float:
    """Returns the memory of a container without the page cache that it may lose, in MiB."""
    figures = container.stats(stream=False, one_shot=True)
    assert isinstance(figures, dict)  # no stream was asked for
    memory = figures["memory_stats"]
    return float(memory["usage"] - memory["stats"].get("inactive_file", 0)) / 2**20


def own_image(fleet: Fleet) -> str:
    """Returns the image of the container in which this runs."""
    return str(fleet.docker.containers.get(socket.gethostname()).attrs["Config"]["Image"])


def run_container(fleet: Fleet, image: str, name: str, alias: str, **options: Any) -> Container:
    """Starts a container under a name on the fleet's network; one of a run that was killed makes room.

    Raises:
        SystemExit: There is no such image.
    """
    for left in fleet.docker.containers.list(all=True, filters={"name": f"^/?{_NAME}-{name}$"}):
        left.remove(force=True)
    network = fleet.network
    try:
        container: Container = fleet.docker.containers.run(
            image,
            name=f"{_NAME}-{name}",
            network=network,
            networking_config={network: fleet.docker.api.create_endpoint_config(aliases=[alias])},
            detach=True,
            **options,
        )
    except docker.errors.ImageNotFound:
        raise could_not_measure(f"there is no image {image}; `make bench` builds it first") from None
    return container


def await_port(host: str, port: int, seconds: float = 30) -> None:
    """Waits until somebody listens there."""

    def listening() -> bool:
        try:
            with socket.create_connection((host, port), timeout=2):
                return True
        except OSError:
            return False

    eventually(listening, f"{host}:{port} listens", seconds)


class ScriptedScorer(AbstractContextManager["ScriptedScorer"]):
    """The fake scorer in the place of the real one, which leaves the network meanwhile."""

    def __init__(self, fleet: Fleet, delay_ms: float = 0) -> None:
        self._fleet = fleet
        self._delay_ms = delay_ms
        self._container: Container | None = None

    def __enter__(self) -> "ScriptedScorer":
        try:
            self._alias_real(["scorer-beside-benchmark"])
            self._container = run_container(
                self._fleet,
                own_image(self._fleet),
                "scorer",
                _SCORER,
                command=["python", "-m", "benchmarks.scripted_scorer", "--delay-ms", str(self._delay_ms)],
                mem_limit="192m",
            )
            await_port(_SCORER, scripted_scorer.PORT)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._container:
            self._container.remove(force=True)
        self._alias_real(_SCORER_ALIASES)

    def _alias_real(self, aliases: list[str]) -> None:
        network = self._fleet.docker.networks.get(self._fleet.network)
        [scorer] = self._fleet.containers(_SCORER)
        if self._fleet.network in scorer.attrs["NetworkSettings"]["Networks"]:
            network.disconnect(scorer)
        network.connect(scorer, aliases=aliases)


Layout = Literal["kinds", "alike"]
"""How the baseline's worker processes share the work.

kinds: as in the fleet, two generate, one scores, one persists; alike: two that do everything.
"""

_QUEUES: dict[Layout, Sequence[str]] = {
    "kinds": ("generate", "generate", "score", "persist"),
    "alike": ("generate,score,persist", "generate,score,persist"),
}
_OTHER_THREADS = {"score": 32, "persist": 8}
"""As many as the fleet has calls of the scorer in flight, and twice its writes."""


@dataclass
class Baseline(AbstractContextManager["Baseline"]):
    """The Celery baseline in containers of its own, on the fleet's PostgreSQL (in a database of its own).

    Its broker is a Redis of its own: the fleet's forgets what is least used when it is full, and keeps nothing on disk.

    Attributes:
        fleet: Whose network and PostgreSQL it uses.
        provider_url: Address of the model.
        layout: Of the workers.
        concurrency: Threads of each worker that generates.
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
        """Where its answers are."""
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
            # What is acknowledged is on disk within a second, and never makes room for something else.
            command=["redis-server", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir", "/tmp"],
        )
        await_port("celery-redis", 6379)
        gunicorn = "gunicorn --worker-class gthread --threads 64 --keep-alive 30 --worker-tmp-dir /dev/shm"
        self._run(
            BASELINE_IMAGE,
            "celery-web",
            command=[*gunicorn.split(), "--no-control-socket", "--bind", "0.0.0.0:5001", "celery_baseline.web:app"],
            environment=environment,
        )
        for number, queues in enumerate(_QUEUES[self.layout]):
            threads = _OTHER_THREADS.get(queues, self.concurrency)
            worker = "celery --app celery_baseline.tasks worker --pool threads --without-gossip --without-mingle"
            self._run(
                BASELINE_IMAGE,
                f"celery-worker-{number}",
                command=[*worker.split(), "--loglevel", "WARNING", "--concurrency", str(threads), "--queues", queues],
                environment=environment,
            )
        await_port("celery-web", 5001)
        count, newest = len(_QUEUES[self.layout]), self.containers[-1]
        ping = ["celery", "--app", "celery_baseline.tasks", "inspect", "ping", "--timeout", "5"]

        def online() -> bool:
            output = newest.exec_run(ping).output
            assert isinstance(output, bytes)  # no stream was asked for
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
