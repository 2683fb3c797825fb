"""Without Redis; with it the gate is tried in the system tests."""

from llm_consumer.gate import ProviderGate
from llm_consumer.settings import LlmSettings
from pipeline.volatile import Volatile

NOWHERE = LlmSettings(redis_url="redis://127.0.0.1:1/0")


def gate():
    return ProviderGate(Volatile(NOWHERE, "tests"), "http://provider/v1")


def test_without_redis_each_process_keeps_its_own():
    mine, other = gate(), gate()
    mine.close(30)
    assert 29 < mine.closed_seconds() <= 30
    assert other.closed_seconds() == 0


def test_a_shorter_wait_does_not_open_it_earlier():
    mine = gate()
    mine.close(30)
    mine.close(1)
    assert mine.closed_seconds() > 29
