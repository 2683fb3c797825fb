"""Finds questions whose message is gone and hands them to the republisher, so that each one that was taken ends.

A message may vanish after the broker has acknowledged it: the topic's retention has passed, the machine lost its power
before the page cache was written, the volume is new. PostgreSQL still says `pending` then, and nobody is at work on it.

A lost question loses its `published_at`, and is published again as every other without one, with the attempts that are
noted. Readers of copies do nothing twice, so that a question that is taken for lost by mistake costs nothing but time.
A copy that Flink has met within the last hour is dropped there; its question is found again later, and passes then.
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
"""That are looked for at once; some 20 MB of memory. Others follow in the next round."""
CHECKS_PER_PERIOD = 3
"""In the time after which a question may be lost."""
LONGEST_INTERVAL_SECONDS = 300
REST_FACTOR = 9
"""After a search it rests so many times as long as that took: it takes a tenth of the time at most."""


class Candidate(NamedTuple):
    """A pending question of which nothing was heard for long."""

    question_id: str
    asked_at: datetime
    published_at: datetime


class Candidates(Protocol):
    """Some of them, while this writer is the one that looks for them."""

    @property
    def found(self) -> Sequence[Candidate]:
        """The ones that were asked first, in that order."""

    def lost(self, lost: Sequence[Candidate], /) -> list[str]:
        """Has questions published again, unless they are final or were published since they were found.

        Returns:
            The ids of those that will be.
        """


class Records(Protocol):
    """The questions in the database."""

    def stale_questions(
        self, seconds: float, limit: int, after: Candidate | None, /
    ) -> AbstractContextManager[Candidates]:
        """Lends pending questions published longer ago than `seconds`, without an attempt or failed call noted since.

        Those that were asked after the candidate `after`; None: from the first one on.
        """


class Backlog(Protocol):
    """What the topics still hold."""

    def find(self, wanted: Collection[str], stop: threading.Event, /) -> set[str]:
        """Returns which questions have a message that is not worked off; raises `Unavailable` when nobody can tell."""


class Sweeper:
    """Looks for lost questions at an interval."""

    def __init__(self, records: Records, backlog: Backlog, lost_after_seconds: float) -> None:
        """Takes the age in seconds from which on a question may be lost."""
        self._records = records
        self._backlog = backlog
        self._lost_after = lost_after_seconds
        self._after: Candidate | None = None
        """The last one of a round that did not reach the end."""

    @property
    def interval_seconds(self) -> float:
        """Least time between two rounds."""
        return min(self._lost_after / CHECKS_PER_PERIOD, LONGEST_INTERVAL_SECONDS)

    def run(self, stop: threading.Event) -> None:
        """Looks until `stop` is set; an absent neighbour is waited for."""
        wait = self.interval_seconds
        while not stop.wait(wait):
            began = time.monotonic()
            try:
                self.sweep(stop)
            except Unavailable as error:
                if not stop.is_set():
                    log.warning("put off looking for lost questions", error=str(error))
            except Exception:  # a fault here must not keep the writer from writing
                log.exception("failed to look for lost questions")
            wait = max(self.interval_seconds, REST_FACTOR * (time.monotonic() - began))

    def sweep(self, stop: threading.Event) -> int:
        """Looks once.

        Returns:
            How many questions were lost.

        Raises:
            Unavailable: PostgreSQL or Kafka is away, or Kafka holds too much to be read in time.
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
            "looked for lost questions",
            candidates=len(found),
            lost=len(ids),
            ms=round((time.monotonic() - began) * 1000),
        )
        return len(ids)
