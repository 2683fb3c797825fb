"""Restarts of services lose nothing, and restarts of consumers keep their progress."""

import json
import threading
import uuid
from collections import Counter
from contextlib import contextmanager

import confluent_kafka
import pytest
import requests

from pipeline import consumer, topics
from pipeline.consumer import Consumer, Limits, connect, stall
from pipeline.errors import Unavailable
from pipeline.health import Heartbeat
from pipeline.messages import LowQuality
from pipeline.poison import PoisonLimit
from pipeline.producer import Outgoing, Producer
from pipeline.settings import KafkaSettings
from tests.fleet import CLIENT, eventually
from tests.unit import samples

PARTITIONS = 3
"""Number of partitions of `validated-responses`."""


def restart(fleet, *services):
    for service in services:
        for container in fleet.containers(service):
            container.restart(timeout=15)
    for service in services:
        if fleet.container(service).attrs["State"].get("Health"):
            fleet.wait_healthy(service)


def test_an_answer_survives_a_restart_of_the_stores(fleet, unique):
    text = unique("What colour is grass?")
    before = fleet.ask(text, "Grass is green.", wait=60).json()
    assert before["status"] == "completed"
    restart(fleet, "redis", "postgres", "kafka", "storage-writer", "storage-service")

    def answered():
        reply = fleet.ask(text)
        return reply.json() if reply.status_code == 200 else None

    after = eventually(answered, "the answer is there again", 60)
    assert after["result"] == before["result"]


def test_a_question_in_flight_survives_the_restart_of_its_stages(fleet, unique):
    ids = [
        fleet.ask(unique(f"Why does number {number} matter?"), "It is a number.").json()["question_id"]
        for number in range(6)
    ]
    restart(fleet, "llm-consumer", "storage-writer", "score-validator")
    assert {fleet.finish(each, 180)["status"] for each in ids} == {"completed"}


def test_the_job_runs_again_after_a_restart_of_its_jobmanager(fleet, unique):
    base = "http://flink-jobmanager:8081/jobs/overview"
    restart(fleet, "flink-jobmanager")

    def running():
        jobs = requests.get(base, timeout=10).json()["jobs"]
        return [each for each in jobs if (each["name"], each["state"]) == ("score-validator", "RUNNING")]

    eventually(running, "the job runs again", 180, interval=1)
    question_id = fleet.ask(unique("Does the job still score?"), "Yes, it does.").json()["question_id"]
    assert fleet.finish(question_id, 180)["status"] == "completed"


@pytest.mark.parametrize("service", ["storage-service", "llm-consumer", "storage-writer", "score-validator"])
def test_a_service_that_is_still_starting_stops_on_sigterm(fleet, service):
    container = fleet.container(service)
    container.stop(timeout=15)
    container.start()
    try:
        container.kill("SIGTERM")
        container.wait(timeout=15)
    finally:
        container.start()
        fleet.wait_healthy(service)


def test_replayed_messages_change_nothing(fleet, unique):
    reply = fleet.ask(unique("What is a duplicate?"), "A duplicate is a copy.", wait=60).json()
    question_id = reply["question_id"]

    def rows():
        return [
            fleet.sql(f"SELECT * FROM {table} WHERE question_id = %s ORDER BY 1, 2", question_id)
            for table in ("responses", "attempts")
        ]

    before = rows()
    found = fleet.messages(topics.VALIDATED, lambda message: message.get("question_id") == question_id)
    changed = found | {"llm_response": "another text", "bert_score": 0.99}
    for document in (found, changed):
        fleet.produce(topics.VALIDATED, question_id.encode(), json.dumps(document).encode())
    # Both have been read once storage-writer has no lag after a later question.
    fence = fleet.ask(unique("What is a fence?"), "A fence is a barrier.", wait=60).json()
    assert fence["status"] == "completed"
    eventually(lambda: fleet.lag("storage-writer", [topics.VALIDATED]) == 0, "storage-writer has read everything", 30)
    assert rows() == before


@pytest.fixture
def group():
    """Returns the name of a new consumer group."""
    return f"tests-{uuid.uuid4()}"


def produce_low_quality(questions):
    """Writes messages to which no service reacts."""
    with Producer(KafkaSettings(), "tests") as producer:
        for each in questions:
            message = each.convert_to(
                LowQuality,
                bert_score=0.1,
                bert_precision=0.1,
                bert_recall=0.1,
                scorer="fake",
                threshold=0.5,
                decision="regenerate",
                scored_at=samples.NOW,
            )
            producer.send(Outgoing.of(topics.LOW_QUALITY, message), lambda error: None)


def member(group, topic, handle, producer, limits, heartbeat):
    """Returns the loop as a member of a group, and its client."""
    settings = KafkaSettings()
    clients = connect(settings, group, limits.drain_seconds)
    loop = Consumer(clients, [topic], handle, producer, PoisonLimit(settings.poison_limit), limits, heartbeat)
    return loop, clients.consumer


@contextmanager
def looping(group, handle, heartbeat, topic=topics.LOW_QUALITY):
    """Runs the loop as a member of a group; yields the event that stops it."""
    stop = threading.Event()
    with Producer(KafkaSettings(), "tests") as producer:
        limits = Limits(concurrency=4, in_flight=50)
        loop, _ = member(group, topic, handle, producer, limits, Heartbeat(heartbeat))
        thread = threading.Thread(target=loop.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield stop
        finally:
            stop.set()
            thread.join(15)
        assert not thread.is_alive(), "it did not stop in time"


@pytest.mark.parametrize("stop_after", [1, 50, 400])
def test_a_stopped_consumer_commits_only_finished_messages(fleet, unique, group, tmp_path, stop_after):
    """Two members in turn read each message of the real broker at least once, and stop in time."""
    records = [samples.response(question_text=unique("q")) for _ in range(500)]
    expected = {each.question_id for each in records}
    handled: list[tuple[int, str]] = []
    produce_low_quality(records)

    def processed():
        return expected.intersection(question_id for _, question_id in handled)

    def run_until(count):
        reached, released = threading.Event(), threading.Event()

        def handle(incoming):
            handled.append((incoming.source.offset, incoming.message.question_id))
            if len(processed()) >= count:
                reached.set()
                # Otherwise a fast loop would read everything before it is stopped.
                released.wait()
            return []

        with looping(group, handle, tmp_path / "heartbeat") as stop:
            try:
                assert reached.wait(60), f"read {len(handled)} messages"
            finally:
                stop.set()
                released.set()

    run_until(stop_after)
    assert processed() < expected, "it was not stopped in the middle"
    run_until(len(expected))
    assert processed() == expected
    assert len(handled) - len(set(handled)) <= 50, "more messages were repeated than were in flight"


def test_messages_finished_behind_a_waiting_one_are_not_repeated(fleet, unique, group, tmp_path):
    records = [samples.response(question_text=unique("q")) for _ in range(500)]
    expected = {each.question_id for each in records}
    first, *others = (each.question_id for each in records)
    produce_low_quality(records)

    def run_until(ids, waiting):
        handled = []
        reached = threading.Event()

        def handle(incoming):
            if incoming.message.question_id == waiting:
                raise Unavailable("it stays unavailable")
            handled.append(incoming.message.question_id)
            if ids <= set(handled):
                reached.set()
            return []

        with looping(group, handle, tmp_path / "heartbeat"):
            assert reached.wait(60), f"read {len(handled)} messages"
        return expected.intersection(handled)

    assert run_until({*others}, waiting=first) == {*others}
    assert run_until({first}, waiting=None) == {first}


def test_a_temporary_error_of_a_handler_rejects_no_message(fleet, unique, group, tmp_path):
    [record] = [samples.response(question_text=unique("q"))]
    produce_low_quality([record])
    tries, done = [], threading.Event()

    def handle(incoming):
        if incoming.message.question_id == record.question_id:
            tries.append(incoming.source)
            if len(tries) < consumer.FAULT_TRIES:
                raise ZeroDivisionError("it passes")
            done.set()
        return []

    with looping(group, handle, tmp_path / "heartbeat"):
        assert done.wait(60), f"tried {len(tries)} times"
    source = tries[0].model_dump()
    with pytest.raises(AssertionError, match="no such message"):
        fleet.messages(topics.PERMANENT, lambda message: message.get("source") == source, seconds=2)


@pytest.fixture(scope="module")
def known(fleet):
    """Returns the message of a question on `validated-responses`; storage-writer ignores duplicates of it."""
    question = f"What is a copy? ({uuid.uuid4()})"
    question_id = fleet.ask(question, "A copy is a duplicate.", wait=60).json()["question_id"]
    return fleet.messages(topics.VALIDATED, lambda message: message.get("question_id") == question_id)


def produce_copies(document, count, size=0):
    """Writes `count` copies into each partition of `validated-responses`."""
    value = json.dumps(document | {"llm_response": document["llm_response"].ljust(size)}).encode()
    producer = confluent_kafka.Producer(dict(CLIENT))
    for _ in range(count):
        for partition in range(PARTITIONS):
            producer.produce(topics.VALIDATED, value, document["question_id"].encode(), partition=partition)
        producer.poll(0)
    assert not producer.flush(30)


def test_partitions_with_a_backlog_are_read_evenly(fleet, known, group, tmp_path):
    fleet.seek(group, [topics.VALIDATED], end=True)
    produce_copies(known, 1000, size=2000)
    handled, enough = [], threading.Event()

    def handle(incoming):
        handled.append(incoming.source.partition)
        if len(handled) >= 900:
            enough.set()
        return []

    with looping(group, handle, tmp_path / "heartbeat", topics.VALIDATED):
        assert enough.wait(60), f"read {len(handled)} messages"
    served = Counter(handled[:900])
    assert min(served[number] for number in range(PARTITIONS)) >= 100, served


def test_a_partition_revoked_while_paused_is_read_when_it_is_assigned_again(fleet, known, group, tmp_path):
    fleet.seek(group, [topics.VALIDATED], end=True)
    produce_copies(known, 200)
    attempted, read, read_by_second, unavailable = [], [], [], threading.Event()
    unavailable.set()

    def first(incoming):
        attempted.append(incoming.source.offset)
        if unavailable.is_set():
            raise Unavailable("it stays unavailable")
        read.append(incoming.source.partition)
        return []

    def second(incoming):
        read_by_second.append(incoming.source.partition)
        return []

    with looping(group, first, tmp_path / "first", topics.VALIDATED):
        eventually(lambda: len(attempted) >= 50, "the first member has no more room", 60)
        with looping(group, second, tmp_path / "second", topics.VALIDATED):
            eventually(lambda: read_by_second, "the second member got a partition", 60)
            unavailable.clear()
            eventually(lambda: len(read) >= 100, "the first member has room again", 60)
        read.clear()
        produce_copies(known, 1)
        everywhere = set(range(PARTITIONS))
        eventually(lambda: everywhere == set(read), "the first member reads all partitions", 60)


def test_the_heartbeat_stops_when_the_client_does_not_read_a_partition(fleet, known, group, tmp_path, monkeypatch):
    """Simulates a fault of librdkafka by pausing partitions without the loop's knowledge."""
    monkeypatch.setattr(stall, "CHECK_SECONDS", 0.5)
    fleet.seek(group, [topics.VALIDATED], end=True)
    read, stop, stuck = [], threading.Event(), threading.Event()
    everything = [confluent_kafka.TopicPartition(topics.VALIDATED, each) for each in range(PARTITIONS)]
    heartbeat = Heartbeat(tmp_path / "heartbeat")

    def handle(incoming):
        read.append(incoming.source.partition)
        return []

    def silent():
        produce_copies(known, 1)
        return heartbeat.age_seconds > 3

    with Producer(KafkaSettings(), "tests") as producer:
        loop, client = member(group, topics.VALIDATED, handle, producer, Limits(), heartbeat)
        monkeypatch.setattr(
            loop._prefetcher,
            "pause_and_resume",  # in the thread that polls: from another one the client's calls block
            lambda: client.pause(everything) if stuck.is_set() else client.resume(everything),
        )
        thread = threading.Thread(target=loop.run, args=(stop,), daemon=True)
        thread.start()
        try:
            produce_copies(known, 1)
            eventually(lambda: set(read) == set(range(PARTITIONS)), "it reads", 60)
            stuck.set()
            eventually(silent, "the heartbeat ends", 30, interval=0.5)
            stuck.clear()
            eventually(lambda: heartbeat.age_seconds < 1, "it beats again once all is read", 30)
        finally:
            stop.set()
            thread.join(15)
    assert not thread.is_alive()
