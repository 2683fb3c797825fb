"""Prepares the fleet for a study and restores it.

Like the system tests, the studies run in a container on the fleet's network (see `tests.fleet`). All changes are undone
at the end of their context, even if the study is stopped.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import confluent_kafka.admin

from pipeline import topics
from studies.fleet.environment.questions import delete_benchmark_rows
from studies.fleet.environment.waiting import QUIET_SECONDS, wait_until_drained
from tests.fleet import CLIENT, Fleet, eventually

_ASKED = "storage-service"


@contextmanager
def idle_fleet() -> Iterator[Fleet]:
    """Yields the fleet once it is idle; at the end, the questions of the study are deleted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that changes are undone
    fleet = Fleet()
    pending = "SELECT count(*) AS n FROM questions WHERE status = 'pending'"
    eventually(lambda: fleet.sql(pending)[0]["n"] == 0, "no question is pending", QUIET_SECONDS, interval=1)
    eventually(fleet.job_works, "the job runs", QUIET_SECONDS, interval=1)
    wait_until_drained(fleet)
    try:
        yield fleet
        wait_until_drained(fleet)  # later messages would write rows again
    finally:
        delete_benchmark_rows(fleet)


def partition_count() -> int:
    """Returns the number of partitions of questions-pending."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
    return len(admin.list_topics(topics.QUESTIONS_PENDING, timeout=10).topics[topics.QUESTIONS_PENDING].partitions)


def raise_partitions(fleet: Fleet, wanted: int) -> None:
    """Raises the number of partitions of questions-pending, permanently, and waits until the broker knows them.

    storage-service reads the number only every five minutes, so it is restarted.
    """
    if partition_count() < wanted:
        admin = confluent_kafka.admin.AdminClient(dict(CLIENT))
        raised = admin.create_partitions([confluent_kafka.admin.NewPartitions(topics.QUESTIONS_PENDING, wanted)])
        raised[topics.QUESTIONS_PENDING].result(30)
        eventually(lambda: partition_count() == wanted, f"{wanted} partitions", 30)
        fleet.container(_ASKED).restart(timeout=15)
        fleet.wait_healthy(_ASKED)
