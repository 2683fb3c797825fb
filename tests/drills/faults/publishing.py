"""Faults that kill storage-service between two steps of publishing a question.

storage-service inserts a row, publishes a message and then marks the row as published. A fault blocks one of the last
two steps, by freezing the broker or with a lock on the rows, and then kills the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.drills.faults.base import MIN_STRUCK, RESTART_SECONDS, Fault, Stage
from tests.fleet import eventually

SERVICE = "storage-service"
_LOCK = 4_711
_UNPUBLISHED = "SELECT count(*) AS n FROM questions WHERE status = 'pending' AND published_at IS NULL"


@dataclass(frozen=True)
class _KillPublisher(Fault):
    """Kills storage-service at a certain step and starts it again."""

    seconds: float = field(default=RESTART_SECONDS, kw_only=True)

    def undo(self, stage: Stage) -> None:
        for each in stage.containers(SERVICE):
            each.start()


@dataclass(frozen=True)
class KillBeforePublished(_KillPublisher):
    """Kills storage-service when rows are stored but their messages are not acknowledged."""

    name: str = "kill-before-published"

    def apply(self, stage: Stage) -> None:
        [kafka], [service] = stage.containers("kafka"), stage.containers(SERVICE)
        kafka.pause()
        try:
            _await_unpublished(stage)
            service.kill()
        finally:
            kafka.unpause()


@dataclass(frozen=True)
class KillBeforeNoted(_KillPublisher):
    """Kills storage-service when messages are published but their rows are not marked."""

    name: str = "kill-before-noted"

    def apply(self, stage: Stage) -> None:
        [service] = stage.containers(SERVICE)
        with _marks_blocked(stage):
            written = stage.fleet.written() or 0
            _await_unpublished(stage)
            eventually(lambda: (stage.fleet.written() or 0) >= written + MIN_STRUCK, "messages are published", 60)
            service.kill()


def _await_unpublished(stage: Stage) -> None:
    eventually(lambda: stage.fleet.sql(_UNPUBLISHED)[0]["n"] >= MIN_STRUCK, "questions wait to be published", 60)


@contextmanager
def _marks_blocked(stage: Stage) -> Iterator[None]:
    """Context that blocks all updates that mark a question as published."""
    fleet = stage.fleet
    holder = fleet.connect()
    try:
        with holder.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        holder.commit()  # the session keeps the lock
        fleet.sql(f"""
            CREATE OR REPLACE FUNCTION drill_hold() RETURNS trigger LANGUAGE plpgsql AS
                $$BEGIN PERFORM pg_advisory_xact_lock_shared({_LOCK}); RETURN NEW; END$$;
            CREATE OR REPLACE TRIGGER drill_hold BEFORE UPDATE OF published_at ON questions FOR EACH ROW
                WHEN (old.published_at IS NULL AND new.published_at IS NOT NULL) EXECUTE FUNCTION drill_hold();
            SELECT 1 AS done
        """)
        yield
    finally:
        holder.close()
        fleet.sql("DROP FUNCTION IF EXISTS drill_hold CASCADE; SELECT 1 AS done")
