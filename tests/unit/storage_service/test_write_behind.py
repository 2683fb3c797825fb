"""The write-behind on a fake of PostgreSQL."""

import threading

from storage_service import write_behind
from storage_service.write_behind import WriteBehind
from tests.unit.samples import NOW


class Records:
    def __init__(self):
        self.hits = []
        self.marks = []
        self.error = None

    def add_times_asked(self, hits):
        if self.error:
            raise self.error
        self.hits.append(dict(hits))

    def mark_published(self, marks):
        self.marks.append(marks)


def test_hits_are_summed_by_question():
    records = Records()
    book = WriteBehind(records)
    for question in ("a", "b", "a"):
        book.asked(question)
    book.write()
    book.write()
    assert records.hits == [{"a": 2, "b": 1}]


def test_marks_contain_the_time_of_asking():
    records = Records()
    book = WriteBehind(records)
    book.published("a", NOW, NOW)
    book.write()
    assert records.marks == [{("a", NOW): NOW}]


def test_an_unexpected_error_drops_the_batch_and_the_thread_continues():
    records = Records()
    book = WriteBehind(records)
    records.error = ValueError("a bug")
    book.asked("a")
    book.write()
    records.error = None
    book.asked("b")
    book.write()
    assert records.hits == [{"b": 1}]


def test_the_number_of_kept_questions_is_limited(monkeypatch):
    monkeypatch.setattr(write_behind, "MAX_KEPT", 2)
    records = Records()
    book = WriteBehind(records)
    for question in ("a", "b", "c", "a"):
        book.asked(question)
    book.write()
    assert records.hits == [{"a": 2, "b": 1}]


def test_the_thread_writes_regularly(monkeypatch):
    monkeypatch.setattr(write_behind, "INTERVAL_SECONDS", 0.01)
    records, stop, written = Records(), threading.Event(), threading.Event()
    records.add_times_asked = lambda hits: written.set()
    book = WriteBehind(records)
    thread = threading.Thread(target=book.run, args=(stop,), daemon=True)
    thread.start()
    book.asked("a")
    assert written.wait(5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
