"""Client of the running fleet for the system tests and the drills.

Both run in a container on the fleet's network (`docker compose run --rm tests`) and reach each service by its name.
Through Docker's socket they stop, start and inspect the containers of this Compose project only.
"""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import confluent_kafka
import docker
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import redis
import requests
from docker.models.containers import Container

from flink_job.cluster import Cluster, Unreachable
from pipeline import topics
from pipeline.api_client import ApiClient, RequestFailed

CLIENT: Mapping[str, Any] = {"bootstrap.servers": "kafka:9092", "log_level": 2}
"""Settings of every Kafka client; without a broker librdkafka would log an error twenty times a second."""
STORAGE = "http://storage-service:5001"
API = ApiClient(STORAGE)
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "askfleet")
ALL_TOPICS = tuple(topic.name for topic in topics.ALL)
FINAL = ("completed", "failed")
FLINK_GROUP = "score-validator"
"""Consumer group of the Flink job, which commits with each checkpoint. Other groups have the name of their service."""

UNAVAILABLE_ERRORS = (
    requests.RequestException,
    RequestFailed,
    psycopg2.Error,
    redis.RedisError,
    confluent_kafka.KafkaException,
    docker.errors.APIError,
    Unreachable,
)
"""Errors that a request to an unavailable service may raise."""


LONGEST_WAIT_SECONDS = 1200.0
"""Limit of a wait that makes progress but does not end."""


def eventually(
    check: Callable[[], object],
    what: str,
    seconds: float = 60,
    interval: float = 0.25,
    progress: Callable[[], object] = lambda: None,
) -> object:
    """Waits until `check` returns something true and returns it; on timeout shows what it returned or raised last.

    Args:
        check: Condition to wait for.
        what: Description of the condition for the error message.
        seconds: Time limit. It starts again after progress, so that a slow machine gets more time than an idle fleet.
        interval: Seconds between checks.
        progress: Returns a value that changes whenever there is progress.
    """
    since = time.monotonic()
    deadline, reached = since + seconds, None
    while True:
        try:
            last: object = check()
            if last:
                return last
        except (AssertionError, *UNAVAILABLE_ERRORS) as error:
            last = error
        if time.monotonic() > deadline:
            before, reached = reached, progress()
            if reached == before or time.monotonic() > since + LONGEST_WAIT_SECONDS:
                raise AssertionError(f"not within {time.monotonic() - since:.0f} s: {what}; last seen: {last!r}")
            deadline = time.monotonic() + seconds
        time.sleep(interval)


def recreate(services: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Recreates services of the fleet with additional variables, and waits until they are healthy.

    Raises:
        AssertionError: They did not become healthy.
    """
    command = ["docker", "compose", "up", "--detach", "--wait", "--no-deps", *services]
    done = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Record:
    """A message read from a topic.

    Attributes:
        document: JSON object of the message; empty if the message is unreadable.
        at: Time at which the broker stored it, in seconds since the epoch.
        partition: Number of its partition.
    """

    document: dict[str, Any]
    at: float
    partition: int

    @property
    def question_id(self) -> str | None:
        """Id of the question in the message; None if there is none."""
        value = self.document.get("question_id")
        return value if isinstance(value, str) else None


def follow(topic: str, new: bool = False) -> Iterator[list[Record]]:
    """Reads a topic endlessly and yields the messages of each half second.

    Args:
        topic: Name of the topic.
        new: Whether to read only messages written after the first batch, which is empty; otherwise reading starts at
            the beginning.
    """
    consumer = confluent_kafka.Consumer(
        {**CLIENT, "group.id": f"tests-{uuid.uuid4()}", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    )
    try:
        partitions = [
            confluent_kafka.TopicPartition(topic, number)
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ]
        for each in partitions:
            each.offset = consumer.get_watermark_offsets(each, timeout=10)[new]
        consumer.assign(partitions)
        yield []
        while True:
            records = [each for each in consumer.consume(500, 0.5) if not each.error()]
            yield [
                Record(_document(each.value()), each.timestamp()[1] / 1000, each.partition() or 0) for each in records
            ]
    finally:
        consumer.close()


def _document(value: bytes | None) -> dict[str, Any]:
    try:
        document = json.loads(value or b"null")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _partitions(consumer: confluent_kafka.Consumer, names: Iterable[str]) -> list[confluent_kafka.TopicPartition]:
    known = consumer.list_topics(timeout=5).topics
    return [confluent_kafka.TopicPartition(name, number) for name in names for number in known[name].partitions]


class Fleet:
    """Client of the containers, the API, the stores and the topics of the fleet."""

    def __init__(self) -> None:
        self.docker = docker.from_env()

    # --- containers ---

    def containers(self, service: str | None = None, everything: bool = False) -> list[Container]:
        """Returns the containers of a service, or of all services; `everything` includes stopped ones."""
        labels = [f"com.docker.compose.project={PROJECT}", "com.docker.compose.oneoff=False"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        found: list[Container] = self.docker.containers.list(all=everything, filters={"label": labels})
        return found

    def container(self, service: str) -> Container:
        """Returns the first running container of a service."""
        return self.containers(service)[0]

    @property
    def network(self) -> str:
        """Name of the fleet's network."""
        return str(next(iter(self.containers("kafka", everything=True)[0].attrs["NetworkSettings"]["Networks"])))

    def run(self, image: str, name: str, alias: str, **options: Any) -> Container:
        """Starts a container on the fleet's network, where it is reached by its alias."""
        network = self.network
        container: Container = self.docker.containers.run(
            image,
            name=name,
            network=network,
            networking_config={network: self.docker.api.create_endpoint_config(aliases=[alias])},
            detach=True,
            **options,
        )
        return container

    def reconnect(self, container: Container, aliases: list[str]) -> None:
        """Changes the aliases of a container on the fleet's network; its connections break."""
        network = self.docker.networks.get(self.network)
        container.reload()
        if self.network in container.attrs["NetworkSettings"]["Networks"]:
            network.disconnect(container)
        network.connect(container, aliases=aliases)

    def exec(self, service: str, *command: str, check: bool = True) -> str:
        """Runs a command in a service's container and returns what it wrote."""
        result = self.container(service).exec_run(list(command))
        assert isinstance(result.output, bytes)  # bytes, because neither a stream nor a socket was requested
        output = result.output.decode(errors="replace")
        if check:
            assert result.exit_code == 0, f"{command} in {service} ended with {result.exit_code}:\n{output}"
        return output

    def wait_healthy(self, service: str, seconds: float = 120) -> None:
        """Waits until every container of a service is healthy."""

        def healthy() -> bool:
            states = [each.attrs["State"].get("Health", {}).get("Status") for each in self.containers(service)]
            return bool(states) and all(state == "healthy" for state in states)

        eventually(healthy, f"{service} is healthy", seconds, interval=1)

    # --- questions ---

    def ask(
        self,
        text: str,
        reference: str | None = None,
        context: str | None = None,
        wait: int = 0,
        references: list[str] | None = None,
    ) -> requests.Response:
        """Asks a question and waits for its answer for `wait` seconds at most."""
        body = {
            "question_text": text,
            "original_answer": reference,
            "question_context": context,
            "references": references,
        }
        body = {name: value for name, value in body.items() if value is not None}
        return API.send("POST", "/query", params={"wait": wait}, json=body, reply_seconds=wait + 15)

    def status(self, question_id: str) -> dict[str, Any]:
        """Returns the state of a question."""
        return API.get(f"/status/{question_id}", dict[str, Any])

    def finish(self, question_id: str, seconds: float = 120) -> Any:
        """Waits until a question is completed or failed and returns its status document.

        The wait times out when no message has been written to any topic for `seconds`.
        """

        def final() -> dict[str, Any] | None:
            found = self.status(question_id)
            return found if found["status"] in FINAL else None

        return eventually(final, f"question {question_id} is final", seconds, progress=self.written)

    # --- stores ---

    def connect(self) -> psycopg2.extensions.connection:
        """Returns a new connection to PostgreSQL; the caller closes it."""
        return psycopg2.connect(
            host="postgres", dbname="yahoo_db", user="user", password=os.environ["POSTGRES_PASSWORD"], connect_timeout=5
        )

    def sql(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Runs a statement and returns its rows."""
        connection = self.connect()
        with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(statement, values)
            rows = [dict(row) for row in cursor.fetchall()]
        connection.close()
        return rows

    @property
    def cache(self) -> redis.Redis:
        """Client of Redis."""
        return redis.Redis(host="redis", socket_timeout=5)

    # --- topics ---

    def produce(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        """Writes raw bytes to a topic and waits for the acknowledgement; returns (partition, offset).

        The partitioner is that of the fleet, so that a key gets the same partition.
        """
        where: list[tuple[int, int]] = []
        producer = confluent_kafka.Producer({**CLIENT, "message.max.bytes": 2_000_000, "partitioner": "murmur2_random"})

        def delivered(error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
            assert error is None, error
            where.append((message.partition(), message.offset()))  # type: ignore[arg-type]

        producer.produce(topic, value, key, on_delivery=delivered)
        assert producer.flush(20) == 0
        return where[0]

    def messages(self, topic: str, wanted: Callable[[dict[str, Any]], object], seconds: float = 60) -> dict[str, Any]:
        """Reads a topic from its beginning until `wanted(document)` is true of a message, and returns that document."""
        deadline, seen = time.monotonic() + seconds, 0
        for batch in follow(topic):
            for each in batch:
                if each.document and wanted(each.document):
                    return each.document
            seen += len(batch)
            if time.monotonic() > deadline:
                break
        raise AssertionError(f"no such message on {topic} within {seconds} s among {seen}")

    def written(self, names: Iterable[str] = ALL_TOPICS) -> int | None:
        """Returns the number of messages written to some topics so far; None if the broker does not answer."""
        consumer = confluent_kafka.Consumer({**CLIENT, "group.id": "tests"})
        try:
            partitions = _partitions(consumer, names)
            return sum(consumer.get_watermark_offsets(each, timeout=5)[1] for each in partitions)
        except confluent_kafka.KafkaException:
            return None
        finally:
            consumer.close()

    def lag(self, group: str, names: Iterable[str]) -> int:
        """Returns the number of messages of some topics that a consumer group has not committed."""
        consumer = confluent_kafka.Consumer({**CLIENT, "group.id": group})
        try:
            partitions = _partitions(consumer, names)
            lag = 0
            for each in consumer.committed(partitions, timeout=5):
                low, high = consumer.get_watermark_offsets(each, timeout=5)
                lag += high - (each.offset if each.offset >= 0 else low)
            return lag
        finally:
            consumer.close()

    def lags(self) -> Mapping[str, int]:
        """Returns the lag of every group of the fleet."""
        read: dict[str, list[str]] = {}
        for topic in topics.ALL:
            if topic.group:
                read.setdefault(topic.group, []).append(topic.name)
        return {group: self.lag(group, names) for group, names in read.items()}

    def seek(self, group: str, names: Iterable[str], end: bool = False) -> None:
        """Sets the committed offsets of a group without members to the beginning, or the end, of some topics."""
        consumer = confluent_kafka.Consumer({**CLIENT, "group.id": group})
        try:
            partitions = _partitions(consumer, names)
            for each in partitions:
                each.offset = consumer.get_watermark_offsets(each, timeout=5)[end]
            consumer.commit(offsets=partitions, asynchronous=False)
        finally:
            consumer.close()

    # --- the job ---

    def job_works(self) -> bool:
        """Returns whether exactly one job runs and all its tasks are running."""
        active = Cluster("http://flink-jobmanager:8081").jobs().active
        return len(active) == 1 and active[0].fully_running
