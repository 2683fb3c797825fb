"""Limits the calls of the scorer in flight to as many as it answers in time.

A scorer computes one batch after the other. More calls than it can handle only wait longer, until all of them time out.
Its speed is not known beforehand: it depends on the encoder, the machine, and the other load there. The limit is found
as in TCP congestion control (Jacobson 1988, Congestion Avoidance and Control; RFC 5681): slow start, then additive
increase and multiplicative decrease. A timeout or a 503 takes the part of a lost packet.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Limit:
    """The number of calls that may be in flight. Pure."""

    def __init__(self, most: int) -> None:
        """Starts with one call; the limit never exceeds `most`."""
        self._most = most
        self._value = 1.0
        self._slow_start_below = float(most)
        self._decreases = 0

    @property
    def calls(self) -> int:
        """Calls that may be in flight, at least 1."""
        return int(self._value)

    @property
    def decreases(self) -> int:
        """How often the limit was lowered. A call keeps the value from its start and passes it to `overloaded`."""
        return self._decreases

    def answered(self) -> None:
        """Raises the limit after an answer in time: by 1 during slow start, later by 1 / limit."""
        step = 1.0 if self._value < self._slow_start_below else 1.0 / self._value
        self._value = min(float(self._most), self._value + step)

    def overloaded(self, decreases: int) -> None:
        """Halves the limit after a timeout or a 503.

        Args:
            decreases: Value of `decreases` when the call began. Calls that began under an earlier, higher limit are
                ignored, so that calls that time out together halve the limit only once.
        """
        if decreases == self._decreases:
            self._decreases += 1
            self._value = self._slow_start_below = max(1.0, self._value / 2)


class Slots:
    """A semaphore with a changing limit, first come, first served. For one event loop."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Waits until one more call may begin; the slot is free again at the end of the block."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():  # a cancelled turn had no slot yet
                self._in_flight -= 1
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._in_flight < self._limit.calls:
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self._in_flight += 1
                turn.set_result(None)
