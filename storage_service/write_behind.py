"""Write-behind: updates of the database that no reply waits for, in batches.

A reply need not wait until a hit of the cache is counted, or until a question is marked as published. A thread writes
both a few times a second, with one statement each.

Both are best effort: a crash loses those of the last moment. Lost hits are missing in `times_asked`. After a lost mark
storage-writer publishes the question again, which changes nothing.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import structlog

from pipeline.errors import Unavailable

log = structlog.get_logger()

INTERVAL_SECONDS = 0.25
UNAVAILABLE_SECONDS = 2
"""Between attempts while PostgreSQL is unavailable."""
MAX_KEPT = 10_000
"""Distinct questions that are kept while PostgreSQL is unavailable."""


class Records(Protocol):
    """Where it is written."""

    def add_times_asked(self, hits: Mapping[str, int], /) -> None:
        """Adds to `times_asked` by question id."""

    def mark_published(self, marks: Mapping[tuple[str, datetime], datetime], /) -> None:
        """Sets `published_at` by question id and `asked_at`."""


class WriteBehind:
    """Collects from all threads, writes from one."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self._marks: dict[tuple[str, datetime], datetime] = {}

    def asked(self, question_id: str) -> None:
        """Notes a hit of the cache."""
        with self._lock:
            if len(self._hits) < MAX_KEPT or question_id in self._hits:
                self._hits[question_id] += 1

    def published(self, question_id: str, asked_at: datetime, at: datetime) -> None:
        """Notes an acknowledgement of the broker."""
        with self._lock:
            if len(self._marks) < MAX_KEPT:
                self._marks[question_id, asked_at] = at

    def run(self, stop: threading.Event) -> None:
        """Writes until `stop` is set; call `write` once more when nothing is added any longer."""
        pause: float = INTERVAL_SECONDS
        while not stop.wait(pause):
            pause = INTERVAL_SECONDS if self.write() else UNAVAILABLE_SECONDS

    def write(self) -> bool:
        """Writes what has come together.

        Returns:
            False when PostgreSQL is unavailable: they are kept for the next time.
        """
        with self._lock:
            hits, self._hits = self._hits, Counter()
            marks, self._marks = self._marks, {}
        written = True
        if marks and not _written(lambda: self._records.mark_published(marks)):
            written = False
            with self._lock:
                self._marks = marks | self._marks
        if hits and not _written(lambda: self._records.add_times_asked(hits)):
            written = False
            with self._lock:
                self._hits.update(hits)
        return written


def _written(write: Callable[[], None]) -> bool:
    """Returns False when it is worth another try."""
    try:
        write()
    except Unavailable as error:
        log.warning("postponed the write-behind", error=str(error))
        return False
    except Exception:  # the thread has to live on
        log.exception("failed to write behind")
    return True
