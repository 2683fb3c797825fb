"""What many threads want at the same time, done in one go.

The first to come does it, for itself at once; who comes meanwhile waits, and is done together with all others that
wait by then. Alone, nobody waits for company; under load, a round trip is shared. This is how databases commit in
groups (LevelDB's queue of writers: the one in front writes for those behind it).
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
    """One item in the queue.

    Attributes:
        item: What is to be done.
        woken: It is done, or it is in front.
        result: What came of it; empty until then.
        error: Or why nothing came of it.
    """

    item: T
    woken: threading.Event = field(default_factory=threading.Event)
    result: list[R] = field(default_factory=list)
    error: BaseException | None = None


class Batcher(Generic[T, R]):
    """Calls a function with the items of all threads that wait for it."""

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], max_batch: int = 64) -> None:
        """Makes it; it has no thread of its own.

        Args:
            work: Returns one result for each item, in their order. Never called twice at the same time. If it raises
                `Unavailable`, all items get that; another error makes it be called for each item alone, for one may be
                at fault.
            max_batch: Items at a time.
        """
        self._work = work
        self._max_batch = max_batch
        self._lock = threading.Lock()
        self._waiters: deque[_Waiter[T, R]] = deque()
        """The one in front is being done, with those behind it."""

    def __len__(self) -> int:
        """Returns how many items wait or are being done."""
        return len(self._waiters)

    def do(self, item: T) -> R:
        """Returns what came of an item, or raises why nothing did."""
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
