"""A consumer that makes no progress exits or stops reading; each runs as a process with the real broker."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid

import confluent_kafka
import pytest

from pipeline import topics
from pipeline.messages import LowQuality
from tests.fleet import CLIENT
from tests.unit import samples

# Reads a topic that already holds messages, in a new consumer group.
PROGRAM = """
import sys, time
from pipeline import logs, service
from pipeline.consumer import Limits
from pipeline.settings import KafkaSettings

def handle(incoming):
    time.sleep(float(sys.argv[3]))
    return []

logs.configure("loop", KafkaSettings())
service.consume(sys.argv[1], KafkaSettings(), [sys.argv[2]], handle, Limits(stalled_seconds=2))
"""


@pytest.fixture
def loop():
    """Returns a function that starts a consumer of `low-quality-responses`; it is killed after the test."""
    started = []

    def start(handler_seconds, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        command = [sys.executable, "-c", PROGRAM, f"tests-{uuid.uuid4()}", topics.LOW_QUALITY, str(handler_seconds)]
        process = subprocess.Popen(
            command,
            env={**os.environ, "METRICS_PORT": port, "LOG_FORMAT": "json", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_process_whose_loop_hangs_exits(fleet, loop, unique):
    message = samples.response(question_text=unique("Does it hang?")).convert_to(
        LowQuality,
        bert_score=0.1,
        bert_precision=0.1,
        bert_recall=0.1,
        scorer="fake",
        threshold=0.5,
        decision="regenerate",
        scored_at=samples.NOW,
    )
    fleet.produce(topics.LOW_QUALITY, message.question_id.encode(), message.to_bytes())
    output, _ = (process := loop(600)).communicate(timeout=90)
    assert process.returncode == 1
    assert "the loop makes no progress" in output


def test_a_loop_with_too_many_unreadable_messages_stops_reading(fleet, loop):
    for _ in range(6):
        fleet.produce(topics.LOW_QUALITY, b"poison", b"{not json")
    process = loop(0, POISON_LIMIT="3")
    assert process.stdout is not None
    line = next((line for line in process.stdout if "stopped reading: fix the cause" in line), None)
    assert line, "the loop went on reading"
    assert "4 of the last" in line
    assert process.poll() is None, "an exit would only restart the loop"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 1


def test_uncommitted_messages_of_a_transaction_are_not_a_stall(fleet, loop):
    process = loop(0)
    producer = confluent_kafka.Producer({**CLIENT, "transactional.id": f"tests-{uuid.uuid4()}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    until = time.monotonic() + 25  # five stall checks of the loop
    while time.monotonic() < until:
        producer.produce(topics.LOW_QUALITY, b"never committed")
        producer.flush(5)
        time.sleep(0.5)
    producer.abort_transaction(30)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert "left the group" in output
    assert "read nothing of partitions that grow" not in output
