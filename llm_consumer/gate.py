"""The gate before the provider, shared by all llm-consumers.

One that is told to wait (a quota error with `Retry-After`) closes it for everybody: whoever called meanwhile would get
the same error, and each would burn one of three retries of a question. Its state is a key in Redis that expires when
the wait is over. Without Redis each process keeps its own.
"""

import hashlib
import time
from collections.abc import Sequence

import structlog

from pipeline.batcher import Batcher
from pipeline.volatile import Volatile

log = structlog.get_logger()


class ProviderGate:
    """Whether the provider may be called. Safe to use from several threads."""

    def __init__(self, redis: Volatile, base_url: str) -> None:
        """Makes a gate.

        Args:
            redis: Where its state is shared.
            base_url: Address of the provider; each has a gate of its own.
        """
        self._redis = redis
        self._key = f"provider-gate:{hashlib.sha256(base_url.encode()).hexdigest()[:16]}"
        self._closed_until = 0.0
        self._looks = Batcher(self._look)

    def closed_seconds(self) -> float:
        """Returns for how long the gate is still closed; 0 when it is open. Threads share the look."""
        return self._looks.do(None)

    def close(self, seconds: float) -> None:
        """Closes the gate; one that is closed for longer stays so."""
        if seconds <= self.closed_seconds():
            return
        log.warning("closed the gate before the provider", seconds=round(seconds, 1))
        self._closed_until = time.monotonic() + seconds
        self._redis.attempt(lambda client: client.set(self._key, "closed", px=max(1, round(seconds * 1000))))

    def _look(self, waiting: Sequence[None]) -> Sequence[float]:
        left_ms = self._redis.attempt(lambda client: client.pttl(self._key))
        left = max(0.0, self._closed_until - time.monotonic()) if left_ms is None else max(0, int(left_ms)) / 1000
        return [left] * len(waiting)
