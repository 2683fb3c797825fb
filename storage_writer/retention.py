"""Deletes old data: final questions and dead letters that are older than `RETENTION_DAYS`.

It also removes entries from the list of deleted questions, once no topic can contain a message of them.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import structlog
from prometheus_client import Counter

from pipeline import topics
from pipeline.errors import Unavailable

log = structlog.get_logger()

DELETED = Counter("storage_expired_questions_total", "Questions that were deleted for their age (RETENTION_DAYS).")

INTERVAL_SECONDS = 600
BATCH = 200
"""Questions, or rows, in one transaction."""
PAUSE_SECONDS = 0.1
"""Pause between two transactions, so that other writers are not delayed."""

MARGIN_DAYS = 15
"""Kafka deletes whole segments, when their last message has expired, so a message may stay for a week longer. The rest
of the margin is for topics with a slightly longer retention."""
DELETED_DAYS = topics.RETENTION_MS // 86_400_000 + MARGIN_DAYS
"""Time in days for which messages of a deleted question are dropped."""


class Old(Protocol):
    """Old final questions, locked for this writer."""

    @property
    def question_ids(self) -> Sequence[str]:
        """Ids of the questions."""

    def delete(self) -> None:
        """Deletes the questions and all their data."""


class Records(Protocol):
    """The database; each method raises `Unavailable` when it is unavailable."""

    def old(self, days: int, limit: int, /) -> AbstractContextManager[Old]:
        """Provides questions that ended more than `days` days ago."""

    def delete_old_letters(self, days: int, limit: int, /) -> int:
        """Deletes dead letters that are older than `days` days; returns their number."""

    def prune_deleted(self, days: int, limit: int, /) -> int:
        """Removes entries of questions that were deleted more than `days` days ago; returns their number."""


class Answers(Protocol):
    """The answer cache."""

    def invalidate(self, *question_ids: str) -> None:
        """Removes answers; raises `Unavailable` when the cache is unavailable."""


class Retention:
    """Deletes old data at an interval."""

    def __init__(self, records: Records, answers: Answers, retention_days: int) -> None:
        """Takes the age in days at which questions and dead letters are deleted; 0: never."""
        self._records = records
        self._answers = answers
        self._days = retention_days

    def run(self, stop: threading.Event) -> None:
        """Deletes until `stop` is set; waits for unavailable dependencies."""
        while not stop.wait(INTERVAL_SECONDS):
            try:
                self.expire(stop)
            except Unavailable as error:
                log.warning("postponed the deletion of old data", error=str(error))
            except Exception:  # a fault in this thread must not stop the service
                log.exception("failed to delete old data")

    def expire(self, stop: threading.Event) -> None:
        """Deletes old data in batches; `stop` ends it between two batches.

        Raises:
            Unavailable: PostgreSQL or Redis is unavailable. Complete batches are deleted.
        """
        parts: list[Callable[[], int]] = [lambda: self._records.prune_deleted(DELETED_DAYS, BATCH)]
        if self._days:
            parts += [self._expire_questions, lambda: self._records.delete_old_letters(self._days, BATCH)]
        for delete in parts:
            while delete() == BATCH and not stop.wait(PAUSE_SECONDS):
                pass

    def _expire_questions(self) -> int:
        with self._records.old(self._days, BATCH) as old:
            ids = list(old.question_ids)
            if ids:
                # Cached calls expire after an hour. Without Redis nothing is deleted.
                self._answers.invalidate(*ids)
                old.delete()
        for question_id in ids:
            log.info("deleted a question for its age", question_id=question_id)
        DELETED.inc(len(ids))
        return len(ids)
