"""Several llm-consumers share the limit of calls in flight, and a stop waits for calls in flight."""

import time

import pytest

from tests.fleet import eventually
from tests.scripted_provider import ScriptedProvider, answer
from tests.workers import SERVICE, Workers

CONCURRENCY = 6
LONG_SECONDS = 12.0


@pytest.fixture
def provider():
    made = []

    def make(seconds):
        made.append(ScriptedProvider(lambda _: [[answer("Because of scattering.", seconds)]]))
        return made[-1]

    yield make
    for each in made:
        each.close()


def ask_many(fleet, unique, count):
    return [fleet.ask(unique(f"What is number {number}?")).json()["question_id"] for number in range(count)]


def test_the_limit_of_calls_in_flight_is_shared_by_all_workers(fleet, unique, provider):
    slow = provider(1.0)
    settings = {"LLM_CONCURRENCY": str(CONCURRENCY), "LLM_RPM": "10000", "LLM_TIMEOUT": "10"}
    with Workers(fleet, slow.base_url, settings, 2) as workers:
        peak = slow.watch_peak()
        ids = ask_many(fleet, unique, 120)
        eventually(lambda: sum(slow.counts().values()) >= 40, "a third of the calls is made", 60)
        assert peak() == CONCURRENCY, "two workers must use all slots"
        workers.scale(4)
        for question_id in ids:
            assert fleet.finish(question_id, 120)["status"] == "completed"
        assert peak() <= CONCURRENCY
    # What an earlier test has left may be called, too.
    own = [count for (text, _), count in slow.counts().items() if text.startswith("what is number")]
    assert sum(own) == len(ids), "a call was made again"


def test_a_concurrency_of_one_is_shared_by_all_partitions(fleet, unique, provider):
    quick = provider(0.2)
    with Workers(fleet, quick.base_url, {"LLM_CONCURRENCY": "1", "LLM_TIMEOUT": "10"}, 3):
        peak = quick.watch_peak()
        for question_id in ask_many(fleet, unique, 24):
            assert fleet.finish(question_id, 120)["status"] == "completed"
        assert peak() == 1


def test_a_stop_waits_for_a_long_call_and_keeps_its_answer(fleet, unique, provider):
    slow = provider(LONG_SECONDS)
    with Workers(fleet, slow.base_url, {"LLM_TIMEOUT": "60"}, 1) as workers:
        [question_id] = ask_many(fleet, unique, 1)
        eventually(lambda: slow.counts(), "the model is called", 60)
        called = time.monotonic()
        [worker] = workers.containers
        worker.stop(timeout=60)
        assert time.monotonic() - called > LONG_SECONDS - 5, "the stop did not wait for the call"
        worker.reload()
        assert worker.attrs["State"]["ExitCode"] == 0
        assert fleet.finish(question_id, 60)["status"] == "completed"
        worker.start()
        fleet.lag(SERVICE, ["questions-pending"])
    assert sum(slow.counts().values()) == 1, "the call was made again"
    assert not fleet.sql("SELECT * FROM call_errors WHERE question_id = %s", question_id)
