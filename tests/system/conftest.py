"""What the tests against the running fleet share.

They run in a container on the fleet's network (`docker compose run --rm tests`) and reach every part by its name there;
Docker's socket lets them stop, start and look at containers of this Compose project, and of no other.
"""

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator

import confluent_kafka
import docker
import psycopg2
import psycopg2.extras
import pytest
import redis
import requests

from tests.system.scripted_model import ScriptedModel

STORAGE = "http://storage-service:5001"
PROJECT = os.environ.get("COMPOSE_PROJECT_NAME", "askfleet")
FINAL = ("completed", "failed")


def eventually(check: Callable[[], object], what: str, seconds: float = 60, interval: float = 0.25) -> object:
    """Waits until `check` returns something true and returns it; on timeout shows what it returned or raised last."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            last: object = check()
            if last:
                return last
        except (AssertionError, requests.RequestException, psycopg2.Error, redis.RedisError) as error:
            last = error
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}; last seen: {last!r}")
        time.sleep(interval)


class Fleet:
    """Its public surfaces."""

    def __init__(self) -> None:
        self.docker = docker.from_env()

    # --- containers ---

    def containers(self, service=None, everything=False):
        labels = [f"com.docker.compose.project={PROJECT}", "com.docker.compose.oneoff=False"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        return self.docker.containers.list(all=everything, filters={"label": labels})

    def container(self, service):
        return self.containers(service)[0]

    def exec(self, service, *command, check=True):
        result = self.container(service).exec_run(list(command))
        output = result.output.decode(errors="replace")
        if check:
            assert result.exit_code == 0, f"{command} in {service} ended with {result.exit_code}:\n{output}"
        return output

    def wait_healthy(self, service, seconds=120):
        def healthy():
            states = [each.attrs["State"].get("Health", {}).get("Status") for each in self.containers(service)]
            return bool(states) and all(state == "healthy" for state in states)

        eventually(healthy, f"{service} is healthy", seconds, interval=1)

    # --- questions ---

    def ask(self, text, reference=None, context=None, wait=0):
        body = {"question_text": text, "original_answer": reference, "question_context": context}
        body = {name: value for name, value in body.items() if value is not None}
        return requests.post(f"{STORAGE}/query", params={"wait": wait}, json=body, timeout=wait + 15)

    def status(self, question_id):
        return requests.get(f"{STORAGE}/status/{question_id}", timeout=15).json()

    def finish(self, question_id, seconds=120):
        """Waits until a question is completed or failed and returns its status document."""

        def final():
            found = self.status(question_id)
            return found if found["status"] in FINAL else None

        return eventually(final, f"question {question_id} is final", seconds)

    # --- stores ---

    def sql(self, statement, *values):
        connection = psycopg2.connect(
            host="postgres", dbname="yahoo_db", user="user", password=os.environ["POSTGRES_PASSWORD"], connect_timeout=5
        )
        with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(statement, values)
            rows = [dict(row) for row in cursor.fetchall()]
        connection.close()
        return rows

    @property
    def cache(self):
        return redis.Redis(host="redis", socket_timeout=5)

    # --- topics ---

    def produce(self, topic, key, value):
        """Writes raw bytes to a topic and waits for the acknowledgement; returns (partition, offset)."""
        where = []
        producer = confluent_kafka.Producer({"bootstrap.servers": "kafka:9092", "message.max.bytes": 2_000_000})

        def delivered(error, message):
            assert error is None, error
            where.append((message.partition(), message.offset()))

        producer.produce(topic, value, key, on_delivery=delivered)
        assert producer.flush(20) == 0
        return where[0]

    def messages(self, topic, wanted, seconds=60):
        """Reads a topic from its beginning until `wanted(document)` is true of a message, and returns that document."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": "kafka:9092", "group.id": f"tests-{uuid.uuid4()}", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([topic])
        deadline, seen = time.monotonic() + seconds, 0
        try:
            while time.monotonic() < deadline:
                message = consumer.poll(0.5)
                if message is None or message.error():
                    continue
                seen += 1
                try:
                    document = json.loads(message.value() or b"null")
                except ValueError:
                    continue
                if isinstance(document, dict) and wanted(document):
                    return document
        finally:
            consumer.close()
        return pytest.fail(f"no such message on {topic} within {seconds} s among {seen}")


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """The fleet, once it has answered what it was asked before, the first questions at its start among it."""
    fleet = Fleet()
    pending = "SELECT count(*) AS n FROM questions WHERE status = 'pending'"
    eventually(lambda: fleet.sql(pending)[0]["n"] == 0, "no question is pending", 400, interval=1)
    return fleet


@pytest.fixture
def unique():
    """Makes texts that nobody has asked before."""
    return lambda text: f"{text} ({uuid.uuid4().hex[:12]})"


@pytest.fixture(scope="module")
def scripted(fleet) -> Iterator[ScriptedModel]:
    """A scripted model in place of the real one, for the tests of one module.

    The fleet's own llm-consumers are stopped meanwhile; one of the same image asks the scripted model.
    """
    own = fleet.containers("llm-consumer")
    image, network = own[0].image, next(iter(own[0].attrs["NetworkSettings"]["Networks"]))
    model = ScriptedModel()
    for each in own:
        each.stop(timeout=15)
    consumer = fleet.docker.containers.run(
        image,
        command=["python", "-m", "llm_consumer"],
        environment={"LLM_BASE_URL": model.base_url, "LLM_MODEL": "scripted", "LLM_TIMEOUT": "5"},
        network=network,
        detach=True,
        name=f"{PROJECT}-scripted-llm-consumer",
        mem_limit="192m",
    )
    try:
        yield model
    finally:
        print(consumer.logs(tail=200).decode(errors="replace"))
        consumer.stop(timeout=15)
        consumer.remove(force=True)
        for each in own:
            each.start()
        model.close()
        fleet.wait_healthy("llm-consumer")
