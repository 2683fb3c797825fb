import threading
from datetime import UTC, datetime

from llm_consumer.spending import OUTCOMES, spending_on
from tests.unit.pipeline.broker import Broker


def test_the_heartbeat_continues_while_the_spending_of_the_day_is_read():
    broker = Broker(*OUTCOMES)
    stop, beats = threading.Event(), []

    def beat():
        beats.append(True)

    assert spending_on(datetime.now(UTC).date(), broker.settings(), stop, beat).tokens == 0
    assert len(beats) >= len(OUTCOMES)


def test_the_heartbeat_continues_while_the_broker_is_unavailable(monkeypatch):
    monkeypatch.setattr("llm_consumer.spending._TIMEOUT_SECONDS", 0.05)
    broker = Broker()
    settings = broker.settings().model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    stop, beats = threading.Event(), []

    def beat():
        beats.append(True)
        if len(beats) == 2:
            stop.set()

    assert spending_on(datetime.now(UTC).date(), settings, stop, beat).tokens == 0
    assert len(beats) == 2
