"""Group commit: one call does the work of all threads that wait for it.

The first thread calls the function at once, for its own item. Threads that arrive during the call wait; the first of
them then makes one call for all their items. A single thread never waits for others. Under load, many threads share a
round trip. Databases commit in the same way (LevelDB's queue of writers: the first one writes for those behind it).
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from pipeline.errors import Unavailable

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False)
class _Waiter(Generic[T, R]):
    """A thread in the queue, with its item.

    Attributes:
        item: Argument of the work.
        woken: Set when the item is done, or when this thread is first in the queue and has to make the call.
        result: The result; empty until the item is done.
        error: Why there is no result.
    """

    item: T
    woken: threading.Event = field(default_factory=threading.Event)
    result: list[R] = field(default_factory=list)
    error: BaseException | None = None


class Batcher(Generic[T, R]):
    """Calls a function with the items of all threads that wait."""

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], max_batch: int = 64) -> None:
        """Makes a batcher; it starts no thread.

        Args:
            work: Returns one result for each item, in the same order. It is never called twice at the same time. If
                it raises `Unavailable`, every item fails with that error. After any other error it is called again
                for each item alone, because one item may have caused the error.
            max_batch: Maximum number of items in one call.
        """
        self._work = work
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter[T, R]] = deque()
        """The first one makes the call, for itself and for those behind it."""

    def __len__(self) -> int:
        """Returns how many items wait or are in a call."""
        return len(self._waiters)

    def do(self, item: T) -> R:
        """Returns the result for an item, or raises its error."""
        waiter = _Waiter[T, R](item)
        with self._lock:
            self._waiters.append(waiter)
            in_front = len(self._waiters) == 1
        if not in_front:
            waiter.woken.wait()
        if not waiter.result and waiter.error is None:
            self._lead()
        if waiter.error:
            raise waiter.error
        return waiter.result[0]

    def _lead(self) -> None:
        with self._lock:
            batch = list(islice(self._waiters, self._max_batch))
        self._run(batch)
        with self._lock:
            for _ in batch:
                self._waiters.popleft()
            follower = self._waiters[0] if self._waiters else None
        for waiter in batch:
            waiter.woken.set()
        if follower:
            follower.woken.set()

    def _run(self, batch: Sequence[_Waiter[T, R]]) -> None:
        try:
            for waiter, result in zip(batch, self._work([waiter.item for waiter in batch]), strict=True):
                waiter.result.append(result)
        except BaseException as error:
            if len(batch) == 1 or isinstance(error, Unavailable):
                for waiter in batch:
                    waiter.error = error
                return
            for waiter in batch:
                self._run([waiter])
