"""Looks at Kafka, Flink and the services every few seconds, in a thread of its own.

Requests read what was seen last: a page never waits for a broker that is away. Whatever a look meets becomes part of
the sample (`kafka_error`, `flink_error`, a service that is not healthy); it never ends the thread.
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
from pipeline.provider import ProviderStatus
from viz_service import flow
from viz_service.flow import Member, Sample
from viz_service.schemas import Flink, Pipeline, ServiceState, Why
from viz_service.settings import VizSettings
from viz_service.storage import Storage
from viz_service.waiting import ErrorReader

log = structlog.get_logger()

TIMEOUT_SECONDS = 3.0
JOB_NAME = "score-validator"

LOOPS = ("llm-consumer", "retry-overload-consumer", "retry-quota-consumer", "storage-writer")
"""Services on the consumer loop: they are there when their metrics are."""

_PROVIDERS = TypeAdapter(list[ProviderStatus])

Look = Callable[[], Mapping[str, Any]]
"""Returns some fields of a `Sample`."""


class KafkaProbe:
    """Reads offsets and groups."""

    def __init__(self, settings: VizSettings) -> None:
        self._settings = settings
        self._client: AdminClient | None = None
        self._errors = ErrorReader(settings)

    def __call__(self) -> Mapping[str, Any]:
        """Returns the fields of a sample that Kafka knows, or why it says nothing."""
        try:
            # Made here, in the sampler's thread: librdkafka does not survive gunicorn's fork.
            self._client = self._client or AdminClient(client_config(self._settings, "viz-service"))
            return self._look(self._client)
        except KafkaException as error:
            return {"kafka_error": why_kafka(error.args[0])}
        except TimeoutError:
            return {"kafka_error": Why(kind="no-answer")}

    def _look(self, client: AdminClient) -> Mapping[str, Any]:
        known = client.list_topics(timeout=TIMEOUT_SECONDS).topics
        partitions = [
            (each.name, number) for each in topics.ALL if each.name in known for number in known[each.name].partitions
        ]
        if not partitions:
            return {"kafka_error": Why(kind="no-topics")}
        ends = self._offsets(client, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        first = self._offsets(client, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        committed: dict[tuple[str, str, int], int] = {}
        ahead: dict[tuple[str, str, int], int] = {}
        done = {each: Progress(offset) for each, offset in first.items()}
        groups = self._existing(client)
        for group in groups:
            names = flow.GROUPS[group]
            wanted = [TopicPartition(name, number) for name, number in partitions if name in names]
            if not wanted:
                continue  # its topics do not exist yet
            asked = [ConsumerGroupTopicPartitions(group, wanted)]
            for future in client.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_SECONDS).values():
                for each in future.result(TIMEOUT_SECONDS).topic_partitions or ():
                    if each.error:
                        continue
                    committed[group, each.topic, each.partition] = each.offset
                    # Below the first offset there is no commit yet, or it is of messages that are gone.
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
        """Returns the fleet's groups that the broker knows.

        About others it must not be asked: librdkafka 2.16.0 crashes the process when it looks for the coordinator of
        a group on a broker that has none yet, as in the first seconds of a new fleet.
        """
        known = client.list_consumer_groups(request_timeout=TIMEOUT_SECONDS).result(TIMEOUT_SECONDS)
        existing = {each.group_id for each in known.valid or ()}
        return [group for group in flow.GROUPS if group in existing]

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


def why_kafka(error: KafkaError) -> Why:
    """Says why Kafka gave no answer; what is rare stays in librdkafka's words."""
    if error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE):
        return Why(kind="no-connection")
    if error.code() in (KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT):
        return Why(kind="no-answer")
    return Why(kind="said", detail=error.str())


class FlinkLook:
    """Reads the job's state from the JobManager."""

    def __init__(self, url: str) -> None:
        self._http = http.Client(url, TIMEOUT_SECONDS)

    def __call__(self) -> Mapping[str, Any]:
        """Returns the fields of a sample that Flink knows, or why it says nothing."""
        try:
            overview = self._http.call("GET", "/jobs/overview")
            if not overview.ok:
                return {"flink_error": Why(kind="status", detail=str(overview.status_code))}
            return {"flink": read_job(overview.json())}
        except http.NoReply as error:
            return {"flink_error": Why(kind=error.kind)}
        except (ValueError, KeyError, TypeError) as error:
            return {"flink_error": Why(kind="unexpected", detail=type(error).__name__)}


def read_job(overview: Mapping[str, Any]) -> Flink:
    """Reads the newest job of our name from `/jobs/overview`."""
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
        # RUNNING alone also holds while its tasks wait for a TaskManager.
        working=job["state"] == "RUNNING" and 0 < total == running,
    )


class ServicesLook:
    """Asks the services how they are, all at once."""

    def __init__(self, settings: VizSettings) -> None:
        self._ready = {"storage-service": settings.storage_url, "score-validator": settings.score_validator_url}
        self._metrics_port = settings.metrics_port
        self._pool = ThreadPoolExecutor(len(self._ready) + len(LOOPS), thread_name_prefix="look")

    def __call__(self) -> Mapping[str, Any]:
        """Returns the services' health, as a field of a sample."""
        asked = [self._pool.submit(self._web, name, url) for name, url in self._ready.items()]
        asked += [self._pool.submit(self._loop, name) for name in LOOPS]
        return {"services": [each.result() for each in asked]}

    def _web(self, name: str, url: str) -> ServiceState:
        problem = _problem(url, "/ready")
        return ServiceState(name=name, healthy=problem is None, instances=int(problem is None), why=problem)

    def _loop(self, name: str) -> ServiceState:
        try:
            found = socket.getaddrinfo(name, self._metrics_port, socket.AF_INET, socket.SOCK_STREAM)
        except OSError:
            # Nothing has this name in the network: no container of the service runs.
            return ServiceState(name=name, healthy=False, instances=0, why=Why(kind="not-found"))
        hosts = sorted({str(each[4][0]) for each in found})
        problems = [_problem(f"http://{host}:{self._metrics_port}", "/metrics") for host in hosts]
        worst = next((each for each in problems if each), None)
        return ServiceState(name=name, healthy=worst is None, instances=problems.count(None), why=worst)


def _problem(url: str, path: str) -> Why | None:
    try:
        reply = http.Client(url, TIMEOUT_SECONDS).call("GET", path)
    except http.NoReply as error:
        return Why(kind=error.kind)
    if reply.ok:
        return None
    try:
        return Why(kind="said", detail=str(reply.json()["detail"]))
    except (ValueError, KeyError, TypeError):
        return Why(kind="status", detail=str(reply.status_code))


class StorageLook:
    """Reads the figures of storage-service."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self) -> Mapping[str, Any]:
        """Returns replies, oldest pending question and dead letters, as fields of a sample; none while it is away."""
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


class BudgetLook:
    """Reads what calls of the model may still take today."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self) -> Mapping[str, Any]:
        """Returns the budget as a field of a sample; none while storage-service, or what it asks, is away."""
        try:
            return {"budget": Budget.model_validate(self._storage.budget())}
        except (Unavailable, ValidationError):
            return {}


class ProvidersLook:
    """Reads how the providers of the model stand."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(self) -> Mapping[str, Any]:
        """Returns the providers as a field of a sample; none while storage-service, or Redis, does not answer."""
        try:
            return {"providers": _PROVIDERS.validate_python(self._storage.providers()["providers"])}
        except (Unavailable, KeyError, ValidationError):
            return {}


class State(Protocol):
    """What the routes ask for."""

    def samples(self) -> Sequence[Sample]:
        """Returns the samples that are kept, oldest first."""

    def age_seconds(self) -> float | None:
        """Returns how old the last sample is; None when there is none."""


class Sampler:
    """Keeps samples of the pipeline; `run` takes them."""

    def __init__(self, looks: Sequence[Look], interval_seconds: float) -> None:
        self._looks = looks
        self._interval = interval_seconds
        self._samples: deque[Sample] = deque(maxlen=int(flow.KEPT_SECONDS / interval_seconds) + 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begins to sample; to be called after the fork, in the process that serves."""
        self._thread.start()

    def release(self) -> None:
        """Does nothing: no request waits for a sample."""

    def close(self) -> None:
        """Ends sampling."""
        self._stop.set()

    def run(self) -> None:
        """Samples until `close` is called."""
        with ThreadPoolExecutor(len(self._looks), thread_name_prefix="sampler") as pool:
            while not self._stop.is_set():
                self.sample(pool)
                self._stop.wait(self._interval)

    def sample(self, pool: ThreadPoolExecutor) -> None:
        """Takes one sample; all neighbours are looked at at the same time."""
        found: dict[str, Any] = {}
        for future in [pool.submit(look) for look in self._looks]:
            try:
                found |= future.result()
            except Exception:  # a fault here must not blind the page for the rest
                log.exception("failed to look at a part of the pipeline")
        if self._samples:
            self._samples[-1] = replace(self._samples[-1], errors=())  # only the newest ones are ever shown
        self._samples.append(Sample(at=time.monotonic(), taken_at=datetime.now(UTC), **found))

    def samples(self) -> Sequence[Sample]:
        """See `State`."""
        return tuple(self._samples)

    def age_seconds(self) -> float | None:
        """See `State`."""
        samples = self.samples()
        return time.monotonic() - samples[-1].at if samples else None


def sampler(settings: VizSettings, storage: Storage) -> Sampler:
    """Makes the sampler of the fleet; it does not run yet."""
    looks: list[Look] = [
        KafkaProbe(settings),
        FlinkLook(settings.flink_jobmanager_url),
        ServicesLook(settings),
        StorageLook(storage),
        BudgetLook(storage),
        ProvidersLook(storage),
    ]
    return Sampler(looks, settings.viz_sample_seconds)


def pipeline_of(state: State) -> Pipeline:
    """Returns the state of the pipeline as it was seen last."""
    return flow.pipeline(state.samples(), state.age_seconds())
