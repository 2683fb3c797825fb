"""Write-behind: database updates for which no reply waits, in batches.

Replies do not wait until a cache hit is counted, or until a question is marked as published. A thread writes these
updates a few times a second, with one statement for each kind.

The updates are best effort: a crash loses the last ones. Lost hits are missing in `times_asked`. After a lost mark,
storage-writer publishes the question again, which has no effect.
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
"""Interval of attempts while PostgreSQL is unavailable."""
MAX_KEPT = 10_000
"""Maximum number of questions whose updates are kept while PostgreSQL is unavailable."""


class Records(Protocol):
    """The database."""

    def add_times_asked(self, hits: Mapping[str, int], /) -> None:
        """Adds to `times_asked` by question id."""

    def mark_published(self, marks: Mapping[tuple[str, datetime], datetime], /) -> None:
        """Sets `published_at` by question id and `asked_at`."""


class WriteBehind:
    """Collects updates from all threads and writes them from one thread."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._hits: Counter[str] = Counter()
        self._marks: dict[tuple[str, datetime], datetime] = {}

    def asked(self, question_id: str) -> None:
        """Counts a cache hit."""
        with self._lock:
            if len(self._hits) < MAX_KEPT or question_id in self._hits:
                self._hits[question_id] += 1

    def published(self, question_id: str, asked_at: datetime, at: datetime) -> None:
        """Records an acknowledgement of the broker."""
        with self._lock:
            if len(self._marks) < MAX_KEPT:
                self._marks[question_id, asked_at] = at

    def run(self, stop: threading.Event) -> None:
        """Writes until `stop` is set; call `write` once more after the last update."""
        pause: float = INTERVAL_SECONDS
        while not stop.wait(pause):
            pause = INTERVAL_SECONDS if self.write() else UNAVAILABLE_SECONDS

    def write(self) -> bool:
        """Writes the collected updates.

        Returns:
            False when PostgreSQL is unavailable and the updates are kept for the next time.
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
    """Returns False when the update has to be retried."""
    try:
        write()
    except Unavailable as error:
        log.warning("postponed the write-behind", error=str(error))
        return False
    except Exception:  # the thread has to continue
        log.exception("failed to write behind")
    return True
