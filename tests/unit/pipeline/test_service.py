import socket

import pytest

from pipeline import service
from pipeline.settings import KafkaSettings


@pytest.fixture
def settings():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1", metrics_port=port)


def test_what_fails_beside_the_loop_ends_the_process(settings):
    def fail(_stop):
        raise LookupError("a bug")

    with pytest.raises(SystemExit) as ended:
        service.consume("tests", settings, ["questions-pending"], lambda _: [], beside=[fail])
    assert ended.value.code == 1


def test_what_is_beside_the_loop_is_told_to_stop_and_waited_for(settings):
    told = []

    def stop_all(stop):
        stop.set()

    def work(stop):
        told.append(stop.wait(20))

    service.consume("tests", settings, ["questions-pending"], lambda _: [], beside=[stop_all, work])
    assert told == [True]
