"""Items that wait for their due time. Pure: the caller passes the time (`pipeline.clock`)."""

import heapq
from typing import Generic, TypeVar

T = TypeVar("T")


class Schedule(Generic[T]):
    """A heap ordered by due time: an item that waits long never delays another one that is due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._added = 0

    def add(self, due: float, item: T) -> None:
        """Keeps `item` until `due`, in seconds; items due at the same time are returned in insertion order."""
        heapq.heappush(self._heap, (due, self._added, item))
        self._added += 1

    def pop_due(self, now: float) -> list[T]:
        """Removes and returns the items that are due at `now`, in seconds, earliest first."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            due.append(heapq.heappop(self._heap)[2])
        return due

    def __len__(self) -> int:
        return len(self._heap)
