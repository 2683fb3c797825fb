"""Probes Kafka, Flink and the services every few seconds, in a thread of its own.

Requests read the last sample: a page never waits for an unavailable broker. Errors of a probe become part of the sample
(`kafka_error`, `flink_error`, a service that is not healthy); they never end the thread.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from pydantic import TypeAdapter, ValidationError

from pipeline import http, topics
from pipeline.budget import Budget
from pipeline.errors import Unavailable
from pipeline.kafka import client_config
from pipeline.offsets import Progress
from pipeline.provider_status import ProviderStatus
from viz_service import pipeline_state
from viz_service.pipeline_state import Member, Sample
from viz_service.schemas import FailureReason, Flink, Pipeline, ServiceState
from viz_service.settings import VizSettings
from viz_service.storage import Storage
from viz_service.waiting import ErrorReader

log = structlog.get_logger()

SAMPLE_SECONDS = 5
"""Interval of probes of Kafka, Flink and the services."""
TIMEOUT_SECONDS = 3.0
JOB_NAME = "score-validator"

CONSUMER_SERVICES = ("llm-consumer", "retry-overload-consumer", "retry-quota-consumer", "storage-writer")
"""Services with a consumer loop. They have no HTTP API, so a probe fetches their metrics."""

_PROVIDERS = TypeAdapter(list[ProviderStatus])

Probe = Callable[[], Mapping[str, Any]]
"""Returns some fields of a `Sample`."""


class KafkaProbe:
    """Reads offsets, groups and the error topics."""

    def __init__(self, settings: VizSettings) -> None:
        self._settings = settings
        self._client: AdminClient | None = None
        self._errors = ErrorReader(settings)

    def __call__(self) -> Mapping[str, Any]:
        """Returns the fields of a sample that come from Kafka, or its error."""
        try:
            # Created here, in the sampler's thread: librdkafka does not survive gunicorn's fork.
            self._client = self._client or AdminClient(client_config(self._settings, "viz-service"))
            return self._probe(self._client)
        except KafkaException as error:
            return {"kafka_error": kafka_failure(error.args[0])}
        except TimeoutError:
            return {"kafka_error": FailureReason(kind="no-answer")}

    def _probe(self, client: AdminClient) -> Mapping[str, Any]:
        known = client.list_topics(timeout=TIMEOUT_SECONDS).topics
        partitions = [
            (each.name, number) for each in topics.ALL if each.name in known for number in known[each.name].partitions
        ]
        if not partitions:
            return {"kafka_error": FailureReason(kind="no-topics")}
        ends = self._offsets(client, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        first = self._offsets(client, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        committed: dict[tuple[str, str, int], int] = {}
        ahead: dict[tuple[str, str, int], int] = {}
        done = {each: Progress(offset) for each, offset in first.items()}
        groups = self._existing(client)
        for group in groups:
            names = pipeline_state.GROUPS[group]
            wanted = [TopicPartition(name, number) for name, number in partitions if name in names]
            if not wanted:
                continue  # its topics do not exist yet
            asked = [ConsumerGroupTopicPartitions(group, wanted)]
            for future in client.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_SECONDS).values():
                for each in future.result(TIMEOUT_SECONDS).topic_partitions or ():
                    if each.error:
                        continue
                    committed[group, each.topic, each.partition] = each.offset
                    # An offset below the first one means no commit yet, or a commit of messages that were deleted.
                    if each.offset >= first[each.topic, each.partition]:
                        progress = Progress.of(each.offset, each.metadata or "")
                        done[each.topic, each.partition] = progress
                        ahead[group, each.topic, each.partition] = sum(map(len, progress.ahead))
        errors = self._errors.read(ends, done)
        return {
            "ends": ends,
            "first": first,
            "committed": committed,
            "ahead": ahead,
            "groups": self._groups(client, groups),
            "errors": errors.known,
            "due": errors.due,
        }

    def _offsets(
        self, client: AdminClient, partitions: Sequence[tuple[str, int]], spec: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        asked = {TopicPartition(*each): spec for each in partitions}
        futures = client.list_offsets(asked, request_timeout=TIMEOUT_SECONDS)
        return {(key.topic, key.partition): each.result(TIMEOUT_SECONDS).offset for key, each in futures.items()}

    def _existing(self, client: AdminClient) -> list[str]:
        """Returns the fleet's groups that exist on the broker.

        Other groups must not be queried: librdkafka 2.16.0 crashes the process when it searches for the coordinator of
        a group on a broker that has no groups yet, as in the first seconds of a new fleet.
        """
        known = client.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result(TIMEOUT_SECONDS)
        existing = {each.group_id for each in known.valid or ()}
        return [group for group in pipeline_state.GROUPS if group in existing]

    def _groups(self, client: AdminClient, groups: list[str]) -> dict[str, Member]:
        if not groups:
            return {}
        found = {}
        asked = client.describe_consumer_groups(groups, request_timeout=TIMEOUT_SECONDS)
        for group, future in asked.items():
            try:
                described = future.result(TIMEOUT_SECONDS)
            except KafkaException as error:
                log.debug("could not describe a group", group=group, error=str(error))
                continue
            found[group] = Member(described.state.name, len(described.members))
        return found


def kafka_failure(error: KafkaError) -> FailureReason:
    """Returns why Kafka did not answer; rare errors keep librdkafka's message."""
    if error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE):
        return FailureReason(kind="no-connection")
    if error.code() in (KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT):
        return FailureReason(kind="no-answer")
    return FailureReason(kind="said", detail=error.str())


class FlinkProbe:
    """Reads the job's state from the JobManager."""

    def __init__(self, url: str) -> None:
        self._http = http.Client(url, TIMEOUT_SECONDS)

    def __call__(self) -> Mapping[str, Any]:
        """Returns the fields of a sample that come from Flink, or its error."""
        try:
            overview = self._http.call("GET", "/jobs/overview")
            if not overview.ok:
                return {"flink_error": FailureReason(kind="status", detail=str(overview.status_code))}
            return {"flink": read_job(overview.json())}
        except http.NoReply as error:
            return {"flink_error": FailureReason(kind=error.kind)}
        except (ValueError, KeyError, TypeError) as error:
            return {"flink_error": FailureReason(kind="unexpected", detail=type(error).__name__)}


def read_job(overview: Mapping[str, Any]) -> Flink:
    """Reads the newest job named `JOB_NAME` from `/jobs/overview`."""
    jobs = [each for each in overview["jobs"] if each["name"] == JOB_NAME]
    if not jobs:
        return Flink(state=None, tasks=0, tasks_running=0, since=None, working=False)
    job = max(jobs, key=lambda each: int(each["start-time"]))
    total, running = job["tasks"]["total"], job["tasks"]["running"]
    return Flink(
        state=job["state"],
        tasks=total,
        tasks_running=running,
        since=datetime.fromtimestamp(job["start-time"] / 1000, UTC),
        # RUNNING alone is not enough: its tasks may still wait for a TaskManager.
        working=job["state"] == "RUNNING" and 0 < total == running,
    )


class ServicesProbe:
    """Checks the health of all services concurrently."""

    def __init__(self, settings: VizSettings) -> None:
        self._ready = {
            "storage-service": settings.storage_url,
            "score-validator": settings.scorer_url,
            "judge-service": settings.judge_url,
        }
        self._metrics_port = settings.metrics_port
        self._pool = ThreadPoolExecutor(len(self._ready) + len(CONSUMER_SERVICES), thread_name_prefix="probe")

    def __call__(self) -> Mapping[str, Any]:
        """Returns the services' health, as a field of a sample."""
        asked = [self._pool.submit(self._web, name, url) for name, url in self._ready.items()]
        asked += [self._pool.submit(self._loop, name) for name in CONSUMER_SERVICES]
        return {"services": [each.result() for each in asked]}

    def _web(self, name: str, url: str) -> ServiceState:
        problem = _problem(url, "/ready")
        return ServiceState(name=name, healthy=problem is None, instances=int(problem is None), why=problem)

    def _loop(self, name: str) -> ServiceState:
        try:
            found = socket.getaddrinfo(name, self._metrics_port, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            # The name does not exist in the network: no container of the service runs.
            return ServiceState(name=name, healthy=False, instances=0, why=FailureReason(kind="not-found"))
        hosts = sorted({str(each[4][0]) for each in found})
        problems = [_problem(f"http://{host}:{self._metrics_port}", "/metrics") for host in hosts]
        worst = next((each for each in problems if each), None)
        return ServiceState(name=name, healthy=worst is None, instances=problems.count(None), why=worst)


def _problem(url: str, path: str) -> FailureReason | None:
    try:
        reply = http.Client(url, TIMEOUT_SECONDS).call("GET", path)
    except http.NoReply as error:
        return FailureReason(kind=error.kind)
    if reply.ok:
        return None
    try:
        return FailureReason(kind="said", detail=str(reply.json()["detail"]))
    except (ValueError, KeyError, TypeError):
        return FailureReason(kind="status", detail=str(reply.status_code))


class StorageProbe:
    """Reads the figures of storage-service."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self) -> Mapping[str, Any]:
        """Returns replies, oldest pending question and dead letters as fields of a sample; empty while unavailable."""
        try:
            figures = self._storage.statistics()
            oldest = figures["oldest_pending_seconds"]
            return {
                "replies": {str(name): int(count) for name, count in figures["replies"].items()},
                "oldest_pending_seconds": None if oldest is None else float(oldest),
                "dead_letters": int(figures["dead_letters"]),
            }
        except (Unavailable, KeyError, AttributeError, TypeError, ValueError):
            return {}


class BudgetProbe:
    """Reads the day's budget of model calls."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self) -> Mapping[str, Any]:
        """Returns the budget as a field of a sample; empty while storage-service or its store is unavailable."""
        try:
            return {"budget": Budget.model_validate(self._storage.budget())}
        except (Unavailable, ValidationError):
            return {}


class ProvidersProbe:
    """Reads the state of the model's providers."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self) -> Mapping[str, Any]:
        """Returns the providers as a field of a sample; empty while storage-service or Redis is unavailable."""
        try:
            return {"providers": _PROVIDERS.validate_python(self._storage.providers()["providers"])}
        except (Unavailable, KeyError, ValidationError):
            return {}


class State(Protocol):
    """The interface for the routes."""

    def samples(self) -> Sequence[Sample]:
        """Returns the samples that are kept, oldest first."""

    def age_seconds(self) -> float | None:
        """Returns the age of the last sample; None if there is none."""


class Sampler:
    """Keeps samples of the pipeline; `run` takes them."""

    def __init__(self, probes: Sequence[Probe], interval_seconds: float) -> None:
        self._probes = probes
        self._interval = interval_seconds
        self._samples: deque[Sample] = deque(maxlen=int(pipeline_state.KEPT_SECONDS / interval_seconds) + 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, name="sampler", daemon=True)

    def start(self) -> None:
        """Starts sampling; call it after the fork, in the process that serves."""
        self._thread.start()

    def release(self) -> None:
        """Does nothing: no request waits for a sample."""

    def close(self) -> None:
        """Stops sampling."""
        self._stop.set()

    def run(self) -> None:
        """Samples until `close` is called."""
        with ThreadPoolExecutor(len(self._probes), thread_name_prefix="sampler") as pool:
            while not self._stop.is_set():
                self.sample(pool)
                self._stop.wait(self._interval)

    def sample(self, pool: ThreadPoolExecutor) -> None:
        """Takes one sample; all probes run concurrently."""
        found: dict[str, Any] = {}
        for future in [pool.submit(probe) for probe in self._probes]:
            try:
                found |= future.result()
            except Exception:  # a bug in one probe must not hide the results of the others
                log.exception("failed to probe a part of the pipeline")
        if self._samples:
            self._samples[-1] = replace(self._samples[-1], errors=())  # only the newest errors are shown
        self._samples.append(Sample(at=time.monotonic(), taken_at=datetime.now(UTC), **found))

    def samples(self) -> Sequence[Sample]:
        """See `State`."""
        return tuple(self._samples)

    def age_seconds(self) -> float | None:
        """See `State`."""
        samples = self.samples()
        return time.monotonic() - samples[-1].at if samples else None


def sampler(settings: VizSettings, storage: Storage) -> Sampler:
    """Creates the sampler of the fleet; it does not run yet."""
    probes: list[Probe] = [
        KafkaProbe(settings),
        FlinkProbe(settings.flink_jobmanager_url),
        ServicesProbe(settings),
        StorageProbe(storage),
        BudgetProbe(storage),
        ProvidersProbe(storage),
    ]
    return Sampler(probes, SAMPLE_SECONDS)


def pipeline_of(state: State) -> Pipeline:
    """Returns the state of the pipeline in the last sample."""
    return pipeline_state.pipeline(state.samples(), state.age_seconds())
