"""What goes wrong in a drill: each fault breaks something through Docker's API, and puts it right again.

Whoever runs the fleet would have an orchestrator that starts again what it finds dead. A kill through Docker's API
counts as wanted, so the restart policy does not act; `undo` starts the container in its place. Nothing else is mended:
getting well is the fleet's own business.
"""

import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import confluent_kafka
import confluent_kafka.admin
import requests
from docker.models.containers import Container

from pipeline import topics
from tests.drills.scorer_proxy import PORT, REAL_ALIAS
from tests.drills.scripts import MISBEHAVING, USUAL, WITH_QUOTA
from tests.fleet import AWAY, CLIENT, PROJECT, Fleet, eventually
from tests.workers import SERVICE as LLM_CONSUMER
from tests.workers import Workers

OUTAGE_SECONDS = 60.0
RESTART_SECONDS = 3.0
"""What an orchestrator takes to start again what died."""

LEAVE_SECONDS = 15.0
"""In this time a service has to have ended after SIGTERM."""

MIN_LOST = 10
"""Messages at least, where a drill loses some."""

START_ORDER = (
    "postgres",
    "redis",
    "kafka",
    "postgres-init",
    "kafka-init",
    "llm-server",
    "score-validator",
    "flink-jobmanager",
    "flink-taskmanager",
    "flink-job",
    "retry-overload-consumer",
    "retry-quota-consumer",
    "storage-writer",
    "storage-service",
    "viz-service",
    "kafka-ui",
    "reverse-proxy",
    "traffic-generator",
)
"""Of all services but llm-consumer; each after those that it needs."""

_AWAITED = {"postgres": 120.0, "redis": 60.0, "kafka": 180.0, "flink-jobmanager": 180.0}
_ONE_SHOTS = ("postgres-init", "kafka-init")
_SNAPSHOT = f"{PROJECT}_drill-snapshot"


class BrokenPromise(AssertionError):
    """Something that a fault shows beside the books, for example a service that does not end in time."""


@dataclass(frozen=True)
class Stage:
    """Where a drill is played.

    Attributes:
        fleet: The fleet.
        workers: The llm-consumers, which ask the scripted provider.
    """

    fleet: Fleet
    workers: Workers

    def containers(self, service: str) -> Sequence[Container]:
        """Returns the containers of a service, running or not; of llm-consumer those of the drill."""
        if service == LLM_CONSUMER:
            return tuple(self.workers.containers)
        found = self.fleet.containers(service, everything=True)
        assert found, f"no container of {service}"
        return found


@dataclass(frozen=True)
class Fault(ABC):
    """Something that goes wrong.

    Attributes:
        name: What it is called on the command line and in the ledger.
        seconds: How long it lasts.
        times: How often it strikes in a drill, each time at another moment.
        mix: Shares of the scripts by which the provider answers meanwhile.
        repeats: Whether the calls in flight may be made again.
        soaks: Whether it may strike in a soak, whose topics grow long.
    """

    name: str
    seconds: float = field(default=0, kw_only=True)
    times: int = field(default=1, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    repeats: bool = field(default=True, kw_only=True)
    soaks: bool = field(default=True, kw_only=True)

    @abstractmethod
    def apply(self, stage: Stage) -> None:
        """Breaks something. Raises `BrokenPromise` for what it finds broken already."""

    @abstractmethod
    def undo(self, stage: Stage) -> None:
        """Puts it right; it may be called without `apply` before."""


@dataclass(frozen=True)
class Kill(Fault):
    """Kills a container with SIGKILL."""

    service: str
    number: int = 0
    seconds: float = field(default=RESTART_SECONDS, kw_only=True)
    times: int = field(default=2, kw_only=True)

    def apply(self, stage: Stage) -> None:
        stage.containers(self.service)[self.number].kill()

    def undo(self, stage: Stage) -> None:
        stage.containers(self.service)[self.number].start()


@dataclass(frozen=True)
class Stop(Fault):
    """Stops a service as `docker stop` does, and starts it again after a while."""

    service: str
    seconds: float = field(default=OUTAGE_SECONDS, kw_only=True)

    def apply(self, stage: Stage) -> None:
        for each in stage.containers(self.service):
            each.stop(timeout=30)

    def undo(self, stage: Stage) -> None:
        for each in stage.containers(self.service):
            each.start()


@dataclass(frozen=True)
class Terminate(Fault):
    """Sends SIGTERM to services; each has to end in time and without a doubled call."""

    services: Sequence[str]
    seconds: float = field(default=RESTART_SECONDS, kw_only=True)
    repeats: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        containers = [each for service in self.services for each in stage.containers(service)]
        slow = []
        for each in containers:
            started = time.monotonic()
            each.kill("SIGTERM")
            try:
                each.wait(timeout=LEAVE_SECONDS)
            except requests.RequestException:
                slow.append(f"{each.name} still runs {time.monotonic() - started:.0f} s after SIGTERM")
                each.kill()
        if slow:
            raise BrokenPromise("; ".join(slow))

    def undo(self, stage: Stage) -> None:
        for service in self.services:
            for each in stage.containers(service):
                each.start()


@dataclass(frozen=True)
class Freeze(Fault):
    """Freezes a container, as a machine does that has stopped: connections stay open and nobody answers."""

    service: str
    seconds: float = field(default=OUTAGE_SECONDS, kw_only=True)

    def apply(self, stage: Stage) -> None:
        stage.containers(self.service)[0].pause()

    def undo(self, stage: Stage) -> None:
        container = stage.containers(self.service)[0]
        container.reload()
        if container.status == "paused":
            container.unpause()


@dataclass(frozen=True)
class FlushCache(Fault):
    """Empties Redis."""

    name: str = "redis-flushall"
    times: int = field(default=2, kw_only=True)

    def apply(self, stage: Stage) -> None:
        stage.fleet.cache.flushall()

    def undo(self, stage: Stage) -> None:
        """Nothing: what is in Redis may vanish."""


@dataclass(frozen=True)
class FillCache(Fault):
    """Fills Redis until it reaches its limit and throws keys away."""

    name: str = "redis-maxmemory"
    seconds: float = field(default=10, kw_only=True)

    def apply(self, stage: Stage) -> None:
        cache = stage.fleet.cache
        before = int(cache.info("stats")["evicted_keys"])
        limit = int(cache.info("memory")["maxmemory"])
        assert limit, "Redis has no limit"
        for number in range(2 * limit // 1_000_000):
            cache.set(f"drill:{number}", b"x" * 1_000_000, ex=600)
            if int(cache.info("stats")["evicted_keys"]) > before:
                return
        raise BrokenPromise(f"Redis took twice its limit of {limit} bytes and threw nothing away")

    def undo(self, stage: Stage) -> None:
        cache = stage.fleet.cache
        for key in cache.scan_iter("drill:*"):
            cache.delete(key)


@dataclass(frozen=True)
class SpoilScorer(Fault):
    """Puts a proxy before the scorer that spoils its answers; see `tests.drills.scorer_proxy`."""

    mode: str
    seconds: float = field(default=30, kw_only=True)

    @property
    def _container(self) -> str:
        return f"{PROJECT}-drill-scorer-{self.mode}"

    def apply(self, stage: Stage) -> None:
        docker, network = stage.fleet.docker, stage.fleet.network
        image = docker.containers.get(socket.gethostname()).attrs["Config"]["Image"]
        self._alias_scorer(stage, [REAL_ALIAS])
        docker.containers.run(
            image,
            command=["python", "-m", "tests.drills.scorer_proxy", self.mode],
            name=self._container,
            network=network,
            networking_config={network: docker.api.create_endpoint_config(aliases=["score-validator"])},
            detach=True,
            mem_limit="192m",
        )

        def listening() -> bool:
            try:
                with socket.create_connection(("score-validator", PORT), timeout=2):
                    return True
            except OSError:
                return False

        # Only the proxy bears this name now.
        eventually(listening, "the proxy before the scorer listens", 30)

    def undo(self, stage: Stage) -> None:
        docker = stage.fleet.docker
        for each in docker.containers.list(all=True, filters={"name": self._container}):
            each.remove(force=True)
        self._alias_scorer(stage, ["score-validator", "score_validator"])

    def _alias_scorer(self, stage: Stage, aliases: list[str]) -> None:
        network = stage.fleet.docker.networks.get(stage.fleet.network)
        [scorer] = stage.containers("score-validator")
        scorer.reload()
        if stage.fleet.network in scorer.attrs["NetworkSettings"]["Networks"]:
            network.disconnect(scorer)
        network.connect(scorer, aliases=aliases)


@dataclass(frozen=True)
class Scale(Fault):
    """Scales llm-consumer from 2 to 4 and down to 1, each time until the group has settled; then back to 2."""

    name: str = "scale-llm-consumer"
    seconds: float = field(default=5, kw_only=True)

    def apply(self, stage: Stage) -> None:
        for count in (4, 1):
            stage.workers.scale(count)
            _await_members(LLM_CONSUMER, count)

    def undo(self, stage: Stage) -> None:
        stage.workers.scale(2)


@dataclass(frozen=True)
class DownAndUp(Fault):
    """Stops every container, those that need others first, and starts them in the order of their needs."""

    seconds: float = field(default=5, kw_only=True)
    mix: Mapping[str, float] = field(default_factory=lambda: WITH_QUOTA, kw_only=True)

    def apply(self, stage: Stage) -> None:
        containers = [each for service in (*START_ORDER, LLM_CONSUMER) for each in stage.containers(service)]
        # One after the other, as Compose does with parts that need each other: flink-job still finds its job.
        for each in reversed(containers):
            each.stop(timeout=30)

    def undo(self, stage: Stage) -> None:
        problems = []
        for service in (*START_ORDER, LLM_CONSUMER):
            # Whatever happens to one, the others are started.
            try:
                for each in stage.containers(service):
                    each.start()
                    if service in _ONE_SHOTS and (code := each.wait(timeout=120)["StatusCode"]):
                        problems.append(f"{service} ended with {code}")
                if service in _AWAITED:
                    stage.fleet.wait_healthy(service, _AWAITED[service])
            except (AssertionError, *AWAY) as error:
                problems.append(f"{service}: {error}")
        if problems:
            raise BrokenPromise("; ".join(problems))


@dataclass(frozen=True)
class UpInAnyOrder(DownAndUp):
    """Stops every container, and starts them all at once in an order drawn at random."""

    seed: int = 1

    def undo(self, stage: Stage) -> None:
        order = [*START_ORDER, LLM_CONSUMER]
        random.Random(self.seed).shuffle(order)
        for service in order:
            for each in stage.containers(service):
                each.start()


@dataclass(frozen=True)
class Replay(Fault):
    """Lets consumer groups read their topics again from the beginning."""

    services: Sequence[str]
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        for service in self.services:
            for each in stage.containers(service):
                each.stop(timeout=30)
        for service in self.services:
            _await_members(service, 0)
            stage.fleet.seek(service, [topic.name for topic in topics.ALL if service in topic.consumers])

    def undo(self, stage: Stage) -> None:
        for service in self.services:
            for each in stage.containers(service):
                each.start()


@dataclass(frozen=True)
class DeleteRecords(Fault):
    """Deletes the questions that wait for llm-consumer from their topic, as a retention that is too short does."""

    name: str = "records-deleted"
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        fleet, pending = stage.fleet, [topics.QUESTIONS_PENDING]
        for each in stage.containers(LLM_CONSUMER):
            each.stop(timeout=30)
        eventually(lambda: fleet.lag(LLM_CONSUMER, pending) >= MIN_LOST, "questions wait", 60)
        admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
        partitions = admin.list_topics(pending[0], timeout=10).topics[pending[0]].partitions
        ends = [confluent_kafka.TopicPartition(pending[0], number, -1) for number in partitions]
        for future in admin.delete_records(ends, request_timeout=10).values():
            future.result(15)

    def undo(self, stage: Stage) -> None:
        for each in stage.containers(LLM_CONSUMER):
            each.start()


@dataclass(frozen=True)
class LoseKafka(DownAndUp):
    """Stops every container, empties the volume of Kafka, and starts them in the order of their needs."""

    name: str = "kafka-volume-lost"
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        super().apply(stage)
        _with_kafka_volume(stage, "find /data -mindepth 1 -delete")


@dataclass(frozen=True)
class CutPower(DownAndUp):
    """Kills every container, and takes from Kafka what it wrote in the last seconds.

    Kafka leaves it to the system when a message gets to the disk, and a machine without power loses what is in the
    page cache. PostgreSQL waits for the disk, so it keeps everything.
    """

    name: str = "power-cut"
    mix: Mapping[str, float] = field(default_factory=lambda: USUAL, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        _with_kafka_volume(stage, "rm -rf /snapshot/data && cp -a /data /snapshot/data")
        written = stage.fleet.written()
        eventually(lambda: (stage.fleet.written() or 0) >= (written or 0) + MIN_LOST, "messages are written", 60)
        for service in (*START_ORDER, LLM_CONSUMER):
            for each in stage.containers(service):
                if each.status == "running":
                    each.kill()
        _with_kafka_volume(stage, "find /data -mindepth 1 -delete && cp -a /snapshot/data/. /data")

    def undo(self, stage: Stage) -> None:
        super().undo(stage)
        for each in stage.fleet.docker.volumes.list(filters={"name": _SNAPSHOT}):
            each.remove()


def _with_kafka_volume(stage: Stage, command: str) -> None:
    """Runs a shell command beside the data of Kafka (/data) and a volume for a copy of them (/snapshot)."""
    docker, [kafka] = stage.fleet.docker, stage.containers("kafka")
    [volume] = [each["Name"] for each in kafka.attrs["Mounts"] if each["Destination"] == "/var/lib/kafka/data"]
    docker.containers.run(
        docker.containers.get(socket.gethostname()).attrs["Config"]["Image"],
        command=["sh", "-c", command],
        volumes={volume: {"bind": "/data"}, _SNAPSHOT: {"bind": "/snapshot"}},
        user="root",
        remove=True,
    )


@dataclass(frozen=True)
class Misbehave(Fault):
    """Nothing breaks, but the provider answers with garbage, hangs and drips."""

    name: str = "provider-misbehaves"
    mix: Mapping[str, float] = field(default_factory=lambda: MISBEHAVING, kw_only=True)
    repeats: bool = field(default=False, kw_only=True)
    soaks: bool = field(default=False, kw_only=True)

    def apply(self, stage: Stage) -> None:
        """Nothing: the mix does it."""

    def undo(self, stage: Stage) -> None:
        """Nothing."""


def _await_members(group: str, count: int) -> None:
    """Waits until a consumer group has so many members; one that was killed counts until its session times out."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))

    def settled() -> bool:
        return len(admin.describe_consumer_groups([group], request_timeout=10)[group].result(15).members) == count

    eventually(settled, f"{group} has {count} members", 90, interval=1)


_KILLED = (
    "storage-writer",
    "storage-service",
    "score-validator",
    "flink-taskmanager",
    "flink-jobmanager",
)

_FROZEN = (LLM_CONSUMER, "storage-writer", "flink-taskmanager", "kafka", "postgres", "redis")

_FAULTS: tuple[Fault, ...] = (
    # First, while the topics are short. The Flink job goes by its checkpoints, and meets what the others write again.
    Replay("replay-all", [LLM_CONSUMER, "retry-overload-consumer", "retry-quota-consumer", "storage-writer"]),
    *(Kill(f"kill-{LLM_CONSUMER}-{number + 1}", LLM_CONSUMER, number) for number in range(2)),
    Kill("kill-retry-overload-consumer", "retry-overload-consumer"),
    Kill("kill-retry-quota-consumer", "retry-quota-consumer", mix=WITH_QUOTA),
    *(Kill(f"kill-{service}", service) for service in _KILLED),
    Stop("kafka-away", "kafka"),
    Kill("kill-kafka", "kafka", times=1),
    Stop("postgres-away", "postgres"),
    Stop("redis-away", "redis"),
    FlushCache(),
    FillCache(),
    Stop("scorer-away", "score-validator"),
    SpoilScorer("scorer-slow", "slow", seconds=120),  # two time-outs of 15 and 30 s, and then answers after 30 s
    SpoilScorer("scorer-errors", "errors"),
    SpoilScorer("scorer-nan", "nan"),
    SpoilScorer("scorer-out-of-range", "range"),
    *(Freeze(f"freeze-{service}", service) for service in _FROZEN),
    Scale(),
    *(
        Terminate(f"sigterm-{service}", [service])
        for service in (
            LLM_CONSUMER,
            "retry-overload-consumer",
            "retry-quota-consumer",
            *_KILLED,
            "flink-job",
        )
    ),
    Terminate("sigterm-bystanders", ["viz-service", "traffic-generator", "llm-server"]),
    DownAndUp("down-and-up"),
    *(UpInAnyOrder(f"up-in-any-order-{seed}", seed) for seed in (1, 2)),
    Replay("replay", ["storage-writer"]),
    DeleteRecords(),
    LoseKafka(),
    CutPower(),
    Misbehave(),
)

ALL: Mapping[str, Fault] = {fault.name: fault for fault in _FAULTS}
"""Every fault by its name, in the order in which they are played."""

SOAK_SECONDS = 20.0
"""No outage of the soak is longer: a fault strikes each minute, and the fleet has to get well in between."""
