"""The limit of messages that a consumer rejects. Pure."""

import threading
from collections import deque
from collections.abc import Hashable

RATIO = 0.5
"""Share of the last messages of a partition that may be rejected."""


class TooManyUnreadable(Exception):
    """So many messages of a partition were rejected that the fault is more likely here than in them."""


class PoisonLimit:
    """Counts rejected messages, for each partition by itself: another one that is read well does not hide them.

    Safe to use from several threads.
    """

    def __init__(self, limit: int) -> None:
        """Takes how many of the last `limit / RATIO` messages of a partition may be rejected."""
        self._limit = limit
        self._lock = threading.Lock()
        self._last: dict[Hashable, deque[bool]] = {}
        """Whether each of the last messages was rejected, by partition."""

    def read(self, partition: Hashable = None) -> None:
        """Notes a message of a partition that was handled."""
        self._note(partition, False)

    def rejected(self, why: str, partition: Hashable = None) -> None:
        """Notes one that was not.

        Args:
            why: What is wrong with it.
            partition: Where it stood; None where there is only one.

        Raises:
            TooManyUnreadable: It is one too many.
        """
        rejected, messages = self._note(partition, True)
        if rejected > self._limit:
            where = "" if partition is None else f" of {partition}"
            raise TooManyUnreadable(
                f"{rejected} of the last {messages} messages{where} could not be handled, the last one since: {why}. A "
                "bad deployment is more likely than so many bad messages (POISON_LIMIT)."
            )

    def _note(self, partition: Hashable, rejected: bool) -> tuple[int, int]:
        """Returns how many of how many were rejected."""
        with self._lock:
            last = self._last.setdefault(partition, deque(maxlen=int(self._limit / RATIO)))
            last.append(rejected)
            return sum(last), len(last)
