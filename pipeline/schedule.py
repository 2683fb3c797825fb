"""Things that wait for their due time. Pure: the caller brings the clock."""

import heapq
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


class Schedule(Generic[T]):
    """A heap by due time: waiting one item out never delays another one that is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, T]] = []
        self._added = 0

    def add(self, due_at: datetime, item: T) -> None:
        """Keeps `item` until `due_at`; items due at the same time leave in the order in which they came."""
        heapq.heappush(self._heap, (due_at, self._added, item))
        self._added += 1

    def pop_due(self, now: datetime) -> list[T]:
        """Takes out and returns what is due, earliest first."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        return due

    def __len__(self) -> int:
        return len(self._heap)
