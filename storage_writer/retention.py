"""Deletes what is older than it may become: questions that ended long ago, and dead letters.

It also shortens the list of deleted questions, when no topic can hold a message of them any longer.
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
"""Questions, or rows, of one transaction."""
PAUSE_SECONDS = 0.1
"""Between two transactions: others want to write, too."""

MARGIN_DAYS = 15
"""Kafka deletes whole segments, each when its last message is old enough: a message may stay for a week more. The rest
is for a topic whose retention somebody has raised a little."""
DELETED_DAYS = topics.RETENTION_MS // 86_400_000 + MARGIN_DAYS
"""For which messages of a deleted question are dropped."""


class Old(Protocol):
    """Questions that ended long ago, while this writer is the one that deletes them."""

    @property
    def question_ids(self) -> Sequence[str]:
        """Which."""

    def delete(self) -> None:
        """Deletes them and all that hangs on them."""


class Records(Protocol):
    """The database; each method raises `Unavailable` when it is away."""

    def old(self, days: int, limit: int, /) -> AbstractContextManager[Old]:
        """Lends questions that ended longer ago than so many days."""

    def delete_old_letters(self, days: int, limit: int, /) -> int:
        """Deletes dead letters that came longer ago; returns how many."""

    def prune_deleted(self, days: int, limit: int, /) -> int:
        """Forgets which questions were deleted longer ago; returns how many."""


class Answers(Protocol):
    """The answer cache."""

    def invalidate(self, *question_ids: str) -> None:
        """Takes answers out; raises `Unavailable` when it is away."""


class Retention:
    """Looks for what is old at an interval."""

    def __init__(self, records: Records, answers: Answers, retention_days: int) -> None:
        """Takes the age in days from which on questions and dead letters are deleted; 0: never."""
        self._records = records
        self._answers = answers
        self._days = retention_days

    def run(self, stop: threading.Event) -> None:
        """Deletes until `stop` is set; an absent neighbour is waited for."""
        while not stop.wait(INTERVAL_SECONDS):
            try:
                self.expire(stop)
            except Unavailable as error:
                log.warning("put off deleting what is old", error=str(error))
            except Exception:  # a fault here must not keep the writer from writing
                log.exception("failed to delete what is old")

    def expire(self, stop: threading.Event) -> None:
        """Deletes what is old now, batch by batch; `stop` ends it between two.

        Raises:
            Unavailable: PostgreSQL or Redis is away. Complete batches are deleted.
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
                # What is remembered of their calls is gone after an hour. Without Redis nothing is deleted.
                self._answers.invalidate(*ids)
                old.delete()
        for question_id in ids:
            log.info("deleted a question for its age", question_id=question_id)
        DELETED.inc(len(ids))
        return len(ids)
