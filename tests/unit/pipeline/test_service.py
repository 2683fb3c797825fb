import os
import socket
import subprocess
import sys

import pytest

from pipeline import service
from pipeline.settings import KafkaSettings


@pytest.fixture
def settings():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1", metrics_port=port)


def test_a_failed_background_task_ends_the_process(settings):
    def fail(_stop):
        raise LookupError("a bug")

    with pytest.raises(SystemExit) as ended:
        service.consume("tests", settings, ["questions-pending"], lambda _: [], background_tasks=[fail])
    assert ended.value.code == 1


def test_background_tasks_are_stopped_and_waited_for(settings):
    stopped = []

    def stop_all(stop):
        stop.set()

    def work(stop):
        stopped.append(stop.wait(20))

    service.consume("tests", settings, ["questions-pending"], lambda _: [], background_tasks=[stop_all, work])
    assert stopped == [True]


HANGS = """
import threading, time
from pipeline import health, service
from pipeline.settings import KafkaSettings

def hang_in_a_handler():
    time.sleep(600)

def watch(heartbeat, stop, give_up):
    threading.Thread(target=hang_in_a_handler, daemon=True).start()
    give_up(60)

health.watch = watch
service.consume("tests", KafkaSettings(), ["questions-pending"], lambda _: [])
"""


def test_a_hanging_loop_writes_its_stack_before_its_process_ends(settings):
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "METRICS_PORT": str(settings.metrics_port),
    }
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "the loop makes no progress" in done.stdout + done.stderr
    assert "in hang_in_a_handler" in done.stderr
