"""Search for lost questions, on fakes of PostgreSQL and of the topics."""

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
import structlog

from pipeline.errors import Unavailable
from storage_writer import sweep
from storage_writer.sweep import Candidate, Sweeper
from tests.unit import samples


def candidates(count):
    return [
        Candidate(
            f"{number:032x}", samples.NOW + timedelta(seconds=number), samples.NOW + timedelta(seconds=number + 1)
        )
        for number in range(count)
    ]


class FakeRecords:
    """Fake database; it republishes candidates that have not changed since they were found."""

    def __init__(self, found):
        self.pending = {each.question_id: each for each in found}
        self.republished = []
        self.error = None

    @contextmanager
    def stale_questions(self, seconds, limit, after):
        if self.error:
            raise self.error
        ordered = sorted(self.pending.values(), key=lambda each: (each.asked_at, each.question_id))
        self.found = [each for each in ordered if after is None or each.asked_at > after.asked_at][:limit]
        yield self

    def lost(self, lost):
        marked = [each.question_id for each in lost if self.pending.get(each.question_id) == each]
        for question_id in marked:
            del self.pending[question_id]
        self.republished += marked
        return marked


class FakeBacklog:
    """Fake search of the topics."""

    def __init__(self, present=()):
        self.present = set(present)
        self.searched_ids = []
        self.error = None
        self.meanwhile = None

    def find(self, wanted, stop):
        self.searched_ids.append(set(wanted))
        if self.error:
            raise self.error
        if self.meanwhile:
            self.meanwhile()
        return self.present & set(wanted)


@pytest.fixture
def stop():
    return threading.Event()


def test_a_question_on_no_topic_is_published_again_and_logged_by_id(stop):
    first, second = candidates(2)
    records, backlog = FakeRecords([first, second]), FakeBacklog([second.question_id])
    before = sweep.LOST._value.get()
    with structlog.testing.capture_logs() as logs:
        assert Sweeper(records, backlog, 900).sweep(stop) == 1
    assert records.republished == [first.question_id]
    assert [each["question_id"] for each in logs if each["log_level"] == "warning"] == [first.question_id]
    assert sweep.LOST._value.get() == before + 1


def test_the_topics_are_not_searched_without_candidates(stop):
    backlog = FakeBacklog()
    assert Sweeper(FakeRecords([]), backlog, 900).sweep(stop) == 0
    assert backlog.searched_ids == []


def test_a_question_that_ended_during_the_search_is_not_published_again(stop):
    [question] = candidates(1)
    records, backlog = FakeRecords([question]), FakeBacklog()
    backlog.meanwhile = records.pending.clear
    assert Sweeper(records, backlog, 900).sweep(stop) == 0
    assert records.republished == []


def test_nothing_is_published_again_when_the_search_fails(stop):
    records, backlog = FakeRecords(candidates(3)), FakeBacklog()
    backlog.error = Unavailable("Kafka: no answer in time")
    with pytest.raises(Unavailable):
        Sweeper(records, backlog, 900).sweep(stop)
    assert records.republished == []


def test_candidates_beyond_the_limit_are_searched_in_the_next_rounds(stop, monkeypatch):
    monkeypatch.setattr(sweep, "MAX_CANDIDATES", 2)
    waiting = candidates(5)
    records, backlog = FakeRecords(waiting), FakeBacklog(each.question_id for each in waiting[:4])
    sweeper = Sweeper(records, backlog, 900)
    assert [sweeper.sweep(stop) for _ in range(3)] == [0, 0, 1]
    assert records.republished == [waiting[4].question_id]
    sweeper.sweep(stop)
    assert backlog.searched_ids[3] == {each.question_id for each in waiting[:2]}


@pytest.mark.parametrize(("lost_after", "interval"), [(900, 300), (90, 30), (86_400, 300)])
def test_the_interval_is_a_third_of_the_lost_after_time_and_at_most_300_seconds(lost_after, interval):
    assert Sweeper(FakeRecords([]), FakeBacklog(), lost_after).interval_seconds == interval


def test_the_thread_survives_an_unavailable_database_and_stops_on_request(stop):
    records = FakeRecords(candidates(1))
    records.error = Unavailable("PostgreSQL: no connection")
    sweeper = Sweeper(records, FakeBacklog(), 0.03)
    thread = threading.Thread(target=sweeper.run, args=(stop,), daemon=True)
    thread.start()
    stop.wait(0.1)
    records.error = None
    for _ in range(500):
        if records.republished:
            break
        stop.wait(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert len(records.republished) == 1


def test_the_thread_survives_an_internal_error_and_logs_it(stop):
    records = FakeRecords(candidates(1))
    records.error = TypeError("ours")
    sweeper = Sweeper(records, FakeBacklog(), 0.03)
    with structlog.testing.capture_logs() as logs:
        thread = threading.Thread(target=sweeper.run, args=(stop,), daemon=True)
        thread.start()
        for _ in range(500):
            if logs:
                break
            stop.wait(0.01)
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
    assert logs[0]["event"] == "failed to search for lost questions"
