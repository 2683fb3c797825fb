"""Finds questions whose message is lost and passes them to the republisher, so that every accepted question ends.

A message may be lost after the broker has acknowledged it: the topic's retention has passed, the machine lost power
before the page cache was written, or the volume is new. The question is then `pending` for ever.

The sweep clears `published_at` of a lost question. So it is published again, like every question without a
`published_at`, with its recorded attempts. All readers ignore copies, so a question that is considered lost by mistake
only costs time. Flink drops copies of messages that it has seen within the last hour; a question that is dropped there
is found again later, and then passes.
"""

import threading
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import NamedTuple, Protocol

import structlog
from prometheus_client import Counter

from pipeline.errors import Unavailable

log = structlog.get_logger()

LOST = Counter("storage_lost_questions_total", "Pending questions that no topic held any longer; published again.")

MAX_CANDIDATES = 50_000
"""Maximum number of questions in one round, which need about 20 MB of memory. Others follow in the next round."""
CHECKS_PER_PERIOD = 3
"""Number of rounds in the time after which a question may be lost."""
LONGEST_INTERVAL_SECONDS = 300
REST_FACTOR = 9
"""The pause after a search is at least this multiple of its duration, so searches take at most a tenth of the time."""


class Candidate(NamedTuple):
    """A pending question without news for a long time."""

    question_id: str
    asked_at: datetime
    published_at: datetime


class Candidates(Protocol):
    """Candidates of one round, locked for this writer."""

    @property
    def found(self) -> Sequence[Candidate]:
        """The candidates, sorted by the time of asking."""

    def lost(self, lost: Sequence[Candidate], /) -> list[str]:
        """Marks questions as unpublished, unless they became final or were published meanwhile.

        Returns:
            The ids of the questions that will be published again.
        """


class Records(Protocol):
    """The questions in the database."""

    def stale_questions(
        self, seconds: float, limit: int, after: Candidate | None, /
    ) -> AbstractContextManager[Candidates]:
        """Provides pending questions that were published more than `seconds` ago, and have had no news since then.

        Only those that were asked after the candidate `after`; None: from the first one.
        """


class Backlog(Protocol):
    """Unhandled messages in the topics."""

    def find(self, wanted: Collection[str], stop: threading.Event, /) -> set[str]:
        """Returns which questions have an unhandled message; raises `Unavailable` when this cannot be determined."""


class Sweeper:
    """Searches for lost questions at an interval."""

    def __init__(self, records: Records, backlog: Backlog, lost_after_seconds: float) -> None:
        """Takes the age in seconds after which a question may be lost."""
        self._records = records
        self._backlog = backlog
        self._lost_after = lost_after_seconds
        self._after: Candidate | None = None
        """Last candidate of a round that did not include all questions."""

    @property
    def interval_seconds(self) -> float:
        """Minimum time between two rounds."""
        return min(self._lost_after / CHECKS_PER_PERIOD, LONGEST_INTERVAL_SECONDS)

    def run(self, stop: threading.Event) -> None:
        """Searches until `stop` is set; waits for unavailable dependencies."""
        wait = self.interval_seconds
        while not stop.wait(wait):
            began = time.monotonic()
            try:
                self.sweep(stop)
            except Unavailable as error:
                if not stop.is_set():
                    log.warning("postponed the search for lost questions", error=str(error))
            except Exception:  # a fault in this thread must not stop the service
                log.exception("failed to search for lost questions")
            wait = max(self.interval_seconds, REST_FACTOR * (time.monotonic() - began))

    def sweep(self, stop: threading.Event) -> int:
        """Makes one search.

        Returns:
            Number of lost questions.

        Raises:
            Unavailable: PostgreSQL or Kafka is unavailable, or the topics could not be read in time.
        """
        with self._records.stale_questions(self._lost_after, MAX_CANDIDATES, self._after) as candidates:
            found = candidates.found
            if not found:
                self._after = None
                return 0
            began = time.monotonic()
            present = self._backlog.find({each.question_id for each in found}, stop)
            ids = candidates.lost([each for each in found if each.question_id not in present])
            self._after = found[-1] if len(found) == MAX_CANDIDATES else None
        for question_id in ids:
            log.warning("found a lost question; it is published again", question_id=question_id)
        LOST.inc(len(ids))
        log.info(
            "searched for lost questions",
            candidates=len(found),
            lost=len(ids),
            ms=round((time.monotonic() - began) * 1000),
        )
        return len(ids)
