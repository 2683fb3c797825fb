"""Against a fake of PostgreSQL."""

import threading

from storage_service import ledger
from storage_service.ledger import Ledger
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


def test_hits_are_added_up():
    records = Records()
    book = Ledger(records)
    for question in ("a", "b", "a"):
        book.asked(question)
    book.write()
    book.write()
    assert records.hits == [{"a": 2, "b": 1}]


def test_marks_name_the_asking():
    records = Records()
    book = Ledger(records)
    book.published("a", NOW, NOW)
    book.write()
    assert records.marks == [{("a", NOW): NOW}]


def test_another_error_than_absence_drops_the_batch_and_goes_on():
    records = Records()
    book = Ledger(records)
    records.error = ValueError("a bug")
    book.asked("a")
    book.write()
    records.error = None
    book.asked("b")
    book.write()
    assert records.hits == [{"b": 1}]


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(ledger, "MAX_KEPT", 2)
    records = Records()
    book = Ledger(records)
    for question in ("a", "b", "c", "a"):
        book.asked(question)
    book.write()
    assert records.hits == [{"a": 2, "b": 1}]


def test_thread_writes_by_itself(monkeypatch):
    monkeypatch.setattr(ledger, "INTERVAL_SECONDS", 0.01)
    records, stop, written = Records(), threading.Event(), threading.Event()
    records.add_times_asked = lambda hits: written.set()
    book = Ledger(records)
    thread = threading.Thread(target=book.run, args=(stop,), daemon=True)
    thread.start()
    book.asked("a")
    assert written.wait(5)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
