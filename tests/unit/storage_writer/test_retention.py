"""Deletion of old rows in batches, on fakes of PostgreSQL and Redis."""

import threading
from contextlib import contextmanager

import pytest
import structlog

from pipeline import topics
from pipeline.errors import Unavailable
from storage_writer import retention
from storage_writer.retention import Retention

DAY_MS = 86_400_000


class FakeRecords:
    """Fake database that holds ages in days by id."""

    def __init__(self, questions=(), letters=(), deleted=()):
        self.questions = dict(enumerate(questions))
        self.letters = list(letters)
        self.deleted = list(deleted)
        self.batches = []
        self.error = None
        self.another_writer = False

    @contextmanager
    def old(self, days, limit):
        if self.error:
            raise self.error
        found = [] if self.another_writer else [key for key, age in self.questions.items() if age > days][:limit]
        yield FakeOld(self, [f"{key:032x}" for key in found])

    def delete_old_letters(self, days, limit):
        return self._delete(self.letters, days, limit)

    def prune_deleted(self, days, limit):
        return self._delete(self.deleted, days, limit)

    def _delete(self, ages, days, limit):
        old = [age for age in ages if age > days][:limit]
        for age in old:
            ages.remove(age)
        return len(old)


class FakeOld:
    def __init__(self, records, question_ids):
        self._records = records
        self.question_ids = question_ids

    def delete(self):
        for each in self.question_ids:
            del self._records.questions[int(each, 16)]
        self._records.batches.append(len(self.question_ids))


class FakeAnswers:
    """Fake Redis."""

    def __init__(self):
        self.invalidated = []
        self.unavailable = False

    def invalidate(self, *question_ids):
        if self.unavailable:
            raise Unavailable("Redis is unavailable")
        self.invalidated += question_ids


@pytest.fixture
def stop():
    return threading.Event()


def test_old_questions_and_dead_letters_are_deleted_and_logged_by_id(stop):
    records, answers = FakeRecords(questions=[29, 31], letters=[29, 31]), FakeAnswers()
    with structlog.testing.capture_logs() as logs:
        Retention(records, answers, 30).expire(stop)
    assert list(records.questions.values()) == [29]
    assert records.letters == [29]
    assert answers.invalidated == [f"{1:032x}"]
    assert [each["question_id"] for each in logs] == [f"{1:032x}"]


def test_nothing_is_deleted_when_retention_is_switched_off(stop):
    records = FakeRecords(questions=[10_000], letters=[10_000])
    Retention(records, FakeAnswers(), 0).expire(stop)
    assert (len(records.questions), len(records.letters)) == (1, 1)


@pytest.mark.parametrize("days", [0, 30])
def test_ids_of_deleted_questions_are_kept_longer_than_their_messages(stop, days):
    kept = topics.RETENTION_MS / DAY_MS + 7  # a segment of a topic is deleted as a whole
    records = FakeRecords(deleted=[1, kept, 1000])
    Retention(records, FakeAnswers(), days).expire(stop)
    assert records.deleted == [1, kept]


def test_many_rows_are_deleted_in_small_batches(stop, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    records = FakeRecords(questions=[31] * 5, letters=[31] * 5)
    Retention(records, FakeAnswers(), 30).expire(stop)
    assert records.batches == [2, 2, 1]
    assert records.letters == []


def test_a_stop_ends_the_deletion_between_two_batches(stop, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    stop.set()
    records = FakeRecords(questions=[31] * 5)
    Retention(records, FakeAnswers(), 30).expire(stop)
    assert records.batches == [2]


def test_without_redis_no_question_is_deleted(stop):
    records, answers = FakeRecords(questions=[31]), FakeAnswers()
    answers.unavailable = True
    with pytest.raises(Unavailable):
        Retention(records, answers, 30).expire(stop)
    assert len(records.questions) == 1


def test_nothing_is_deleted_while_another_writer_deletes(stop):
    records, answers = FakeRecords(questions=[31]), FakeAnswers()
    records.another_writer = True
    Retention(records, answers, 30).expire(stop)
    assert records.batches == []
    assert answers.invalidated == []


@pytest.mark.parametrize("error", [Unavailable("PostgreSQL: unavailable"), TypeError("ours")])
def test_the_thread_continues_after_errors(stop, monkeypatch, error):
    monkeypatch.setattr(retention, "INTERVAL_SECONDS", 0.01)
    records = FakeRecords(questions=[31])
    records.error = error
    with structlog.testing.capture_logs() as logs:
        thread = threading.Thread(target=Retention(records, FakeAnswers(), 30).run, args=(stop,), daemon=True)
        thread.start()
        for _ in range(500):
            if logs:
                break
            stop.wait(0.01)
        records.error = None
        for _ in range(500):
            if not records.questions:
                break
            stop.wait(0.01)
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
    assert records.questions == {}
