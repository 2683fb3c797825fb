"""Limit on the number of messages that a consumer rejects. Pure."""

import threading
from collections import deque
from collections.abc import Hashable

RATIO = 0.5
"""Share of the last messages of a partition that may be rejected."""


class TooManyUnreadable(Exception):
    """Too many messages of a partition were rejected: the fault is more likely in the service than in the messages."""


class PoisonLimit:
    """Counts rejected messages for each partition separately, so that a healthy partition does not hide them.

    Safe to use from several threads.
    """

    def __init__(self, limit: int) -> None:
        """Takes the number of rejected messages that is allowed among the last `limit / RATIO` of a partition."""
        self._limit = limit
        self._lock = threading.Lock()
        self._last: dict[Hashable, deque[bool]] = {}
        """For each partition, whether each of the last messages was rejected."""

    def read(self, partition: Hashable = None) -> None:
        """Counts a message of a partition that was handled."""
        self._note(partition, False)

    def rejected(self, why: str, partition: Hashable = None) -> None:
        """Counts a message that was rejected.

        Args:
            why: Why it was rejected.
            partition: Its partition; None when there is only one.

        Raises:
            TooManyUnreadable: The limit is exceeded.
        """
        rejected, messages = self._note(partition, True)
        if rejected > self._limit:
            where = "" if partition is None else f" of {partition}"
            raise TooManyUnreadable(
                f"{rejected} of the last {messages} messages{where} could not be handled; the last error was: {why}. A "
                "faulty deployment is more likely than so many faulty messages (POISON_LIMIT)."
            )

    def _note(self, partition: Hashable, rejected: bool) -> tuple[int, int]:
        """Returns the number of rejected messages and the number of messages."""
        with self._lock:
            last = self._last.setdefault(partition, deque(maxlen=int(self._limit / RATIO)))
            last.append(rejected)
            return sum(last), len(last)
