"""What is scored at all, in which order, and how much may wait."""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline import metrics
from score_validator.scorer import EMPTY_ANSWER, Scored, Scorer, Unscorable

FIRST_GUESS_SECONDS = 0.05
SMOOTHING = 0.1
MAX_RETRY_AFTER_SECONDS = 60
STUCK_SECONDS = 60.0


class Busy(Exception):
    """Too much waits already.

    Attributes:
        retry_after_seconds: When the queue should be empty.
    """

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting} pairs wait already")
        self.retry_after_seconds = retry_after_seconds


class CannotScore(Exception):
    """A pair has no score.

    Attributes:
        index: Of the pair in its batch.
        cause: Why.
    """

    def __init__(self, index: int, cause: Unscorable) -> None:
        super().__init__(f"pair {index}: {cause}")
        self.index = index
        self.cause = cause


class Scoring:
    """Hands pairs to a scorer, one after the other, in the order of their arrival.

    One thread of its own computes: torch keeps a pool of threads for each thread that calls it, and a lock would not
    be fair. A batch hands over its next pair when it has the score of the last, so that single pairs do not wait behind
    a whole batch.
    """

    def __init__(self, scorer: Scorer, max_waiting: int) -> None:
        """Args: a loaded scorer, and the number of waiting pairs at which a request is turned away."""
        self.name = scorer.name
        self._scorer = scorer
        self._max_waiting = max_waiting
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._lock = threading.Lock()
        self._waiting = 0
        self._seconds = FIRST_GUESS_SECONDS
        self._started: float | None = None

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Scored]:
        """Scores pairs of candidate and reference; waits until all are done.

        Blank candidates score 0 without the model.

        Args:
            pairs: They are admitted together while fewer than the limit wait, so that a batch larger than what is left
                is not turned away for ever.

        Returns:
            One score for each pair, in their order.

        Raises:
            Busy: Too much waits already.
            CannotScore: A pair has no score.
        """
        left = sum(1 for candidate, _ in pairs if candidate.strip())
        self._admit(left)
        scores = []
        try:
            for index, (candidate, reference) in enumerate(pairs):
                if not candidate.strip():
                    scores.append(EMPTY_ANSWER)
                    continue
                try:
                    scores.append(self._thread.submit(self._score, candidate, reference).result())
                except Unscorable as cause:
                    raise CannotScore(index, cause) from cause
                self._leave(1)
                left -= 1
        finally:
            self._leave(left)
        metrics.SCORED_PAIRS.inc(len(pairs))
        return scores

    def check(self) -> None:
        """Raises RuntimeError when a pair has been in the model for so long that the thread must be stuck."""
        started = self._started
        if started is not None and time.monotonic() - started > STUCK_SECONDS:
            raise RuntimeError(f"a pair has been in the model for {time.monotonic() - started:.0f} s")

    def _score(self, candidate: str, reference: str) -> Scored:
        started = self._started = time.monotonic()
        try:
            return self._scorer.score(candidate, reference)
        finally:
            self._started = None
            seconds = time.monotonic() - started
            metrics.SCORE_SECONDS.observe(seconds)
            self._seconds += SMOOTHING * (seconds - self._seconds)

    def _admit(self, pairs: int) -> None:
        with self._lock:
            if pairs and self._waiting >= self._max_waiting:
                after = min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(self._waiting * self._seconds)))
                raise Busy(self._waiting, after)
            self._waiting += pairs
            metrics.SCORE_WAITING.set(self._waiting)

    def _leave(self, pairs: int) -> None:
        with self._lock:
            self._waiting -= pairs
            metrics.SCORE_WAITING.set(self._waiting)
