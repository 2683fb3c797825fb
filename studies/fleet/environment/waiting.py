"""Waits for conditions of the fleet and of the baselines."""

import socket
import time
from collections.abc import Callable

import confluent_kafka.admin

from pipeline import topics
from studies.fleet.environment.database import Database
from studies.fleet.environment.errors import MeasurementError
from tests.fleet import CLIENT, Fleet, eventually

QUIET_SECONDS = 400
MARKERS = 3 * len(topics.ALL)
POLL_SECONDS, LAST_POLL_SECONDS, LAST = 0.5, 0.05, 0.9
"""Time between polls of the completed questions, before and after the share `LAST` is completed."""


def wait_until_drained(fleet: Fleet) -> None:
    """Waits until all consumers have read their topics to the end; call it before stopping fakes that are still used.

    A transaction leaves a marker at the end of a partition, which no consumer reads: `MARKERS` messages may remain.
    """
    before = -1

    def settled() -> bool:
        nonlocal before
        unread, before = before, sum(fleet.lags().values())
        return before <= MARKERS and before == unread

    eventually(settled, "all messages are read", QUIET_SECONDS, interval=1)


def wait_until_completed(
    database: Database,
    beginning: str,
    count: int,
    since: float,
    seconds: float,
    watch: Callable[[], object] = lambda: None,
) -> float:
    """Waits until `count` questions are completed.

    Args:
        database: The database that has the questions.
        beginning: The beginning of their texts.
        count: Their number.
        since: A time before the first was asked, in seconds since the epoch; it keeps the query small.
        seconds: The longest wait.
        watch: Called at each poll; raises if waiting is pointless.

    Returns:
        The time of completion in seconds since the epoch, late by `LAST_POLL_SECONDS` and a query at most.

    Raises:
        MeasurementError: Not all were completed in time, or one failed.
    """
    deadline = time.monotonic() + seconds
    while True:
        [(completed, failed)] = database.rows(
            """
            SELECT count(*) FILTER (WHERE status = 'completed'), count(*) FILTER (WHERE status = 'failed')
            FROM questions WHERE asked_at >= to_timestamp(%s) AND question_text LIKE %s
            """,
            since - 1,
            f"{beginning}%",
        )
        at = time.time()
        if completed == count:
            return at
        watch()
        if failed or time.monotonic() > deadline:
            raise MeasurementError(f"{completed} of {count} questions completed, {failed} failed")
        time.sleep(POLL_SECONDS if completed < count * LAST else LAST_POLL_SECONDS)


def wait_for_members(group: str, count: int) -> None:
    """Waits until a consumer group has `count` members and is stable."""
    admin = confluent_kafka.admin.AdminClient(dict(CLIENT))

    def settled() -> bool:
        found = admin.describe_consumer_groups([group], request_timeout=10)[group].result(15)
        return len(found.members) == count and found.state == confluent_kafka.ConsumerGroupState.STABLE

    eventually(settled, f"{group} has {count} members", 90, interval=0.5)


def wait_for_port(host: str, port: int) -> None:
    """Waits until a server listens at an address."""

    def listening() -> bool:
        try:
            with socket.create_connection((host, port), timeout=2):
                return True
        except OSError:
            return False

    eventually(listening, f"{host}:{port} listens", 30)
