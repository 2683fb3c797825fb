"""What is scored together, in which order, and how much may wait."""

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline import metrics
from score_validator.scorer import EMPTY_ANSWER, Scored, Scorer, TextPair, Unscorable

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
        index: Of the pair in its request.
        cause: Why.
    """

    def __init__(self, index: int, cause: Unscorable) -> None:
        super().__init__(f"pair {index}: {cause}")
        self.index = index
        self.cause = cause


Result = Scored | Unscorable | Exception


@dataclass
class _Request:
    """Pairs that came together, and what is known of them.

    Attributes:
        pairs: What to score.
        waiting: Indices of the pairs that no batch has taken yet.
        results: By index.
        done: Set when every pair has a result.
    """

    pairs: Sequence[TextPair]
    waiting: deque[int]
    results: dict[int, Result]
    done: threading.Event = field(default_factory=threading.Event)


class Scoring:
    """Hands pairs of concurrent requests to a scorer, in batches.

    One thread of its own computes: inference libraries keep threads for each thread that calls them, and a lock would
    not be fair. While a batch is computed, the pairs that arrive are the next one; a request with many pairs puts one
    into a batch in turn with the others, so that single pairs do not wait behind it.
    """

    def __init__(self, scorer: Scorer, max_waiting: int, max_batch: int = 32, window_seconds: float = 0.0) -> None:
        """Starts the thread.

        Args:
            scorer: A loaded one.
            max_waiting: Number of waiting pairs at which a request is turned away.
            max_batch: Pairs in a batch.
            window_seconds: How long a batch that is not full waits for more pairs. Only one of several pairs does: a
                caller who is alone would wait for nobody.
        """
        self.name = scorer.name
        self.baseline = scorer.baseline
        self._scorer = scorer
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._window = window_seconds
        self._changed = threading.Condition()
        self._requests: deque[_Request] = deque()
        self._queued = 0
        self._waiting = 0
        self._seconds = FIRST_GUESS_SECONDS
        self._started: float | None = None
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    def score(self, pairs: Sequence[TextPair]) -> list[Scored]:
        """Scores pairs of candidate and reference; waits until all are done.

        Blank candidates score 0 without the model.

        Args:
            pairs: They are admitted together while fewer than the limit wait, so that a request with more than what is
                left is not turned away for ever.

        Returns:
            One score for each pair, in their order.

        Raises:
            Busy: Too much waits already.
            CannotScore: A pair has no score.
        """
        results: dict[int, Result] = {}
        to_score: deque[int] = deque()
        for index, (candidate, _) in enumerate(pairs):
            if candidate.strip():
                to_score.append(index)
            else:
                results[index] = EMPTY_ANSWER
        if to_score:
            request = _Request(pairs, to_score, results)
            self._admit(request)
            request.done.wait()
        metrics.SCORED_PAIRS.inc(len(pairs))
        return [_score_of(index, results[index]) for index in range(len(pairs))]

    def check(self) -> None:
        """Raises RuntimeError when nothing is scored any more: the thread is stuck in a batch, or gone."""
        started = self._started
        if started is not None and time.monotonic() - started > STUCK_SECONDS:
            raise RuntimeError(f"a batch has been in the model for {time.monotonic() - started:.0f} s")
        if not self._thread.is_alive():
            raise RuntimeError("the thread that scores has ended")

    def _admit(self, request: _Request) -> None:
        with self._changed:
            if self._waiting >= self._max_waiting:
                after = min(MAX_RETRY_AFTER_SECONDS, max(1, math.ceil(self._waiting * self._seconds)))
                raise Busy(self._waiting, after)
            pairs = len(request.waiting)
            self._waiting += pairs
            self._queued += pairs
            self._requests.append(request)
            metrics.SCORE_WAITING.set(self._waiting)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            results = self._score([request.pairs[index] for request, index in batch])
            with self._changed:
                self._waiting -= len(batch)
                metrics.SCORE_WAITING.set(self._waiting)
            for (request, index), result in zip(batch, results, strict=True):
                request.results[index] = result
                if len(request.results) == len(request.pairs):
                    request.done.set()

    def _next_batch(self) -> list[tuple[_Request, int]]:
        """Waits for pairs, and takes one of each request in turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued)
            if self._window and 1 < self._queued < self._max_batch:
                self._changed.wait_for(lambda: self._queued >= self._max_batch, self._window)
            batch: list[tuple[_Request, int]] = []
            while self._requests and len(batch) < self._max_batch:
                request = self._requests.popleft()
                batch.append((request, request.waiting.popleft()))
                if request.waiting:
                    self._requests.append(request)
            self._queued -= len(batch)
            return batch

    def _score(self, pairs: list[TextPair]) -> list[Result]:
        started = self._started = time.monotonic()
        try:
            results: list[Result] = list(self._scorer.score(pairs))
        except Exception as error:
            # One pair may be at fault; the others must not fail with it.
            results = [error] if len(pairs) == 1 else [self._score_alone(pair) for pair in pairs]
        finally:
            self._started = None
        seconds = (time.monotonic() - started) / len(pairs)
        metrics.SCORE_BATCH.observe(len(pairs))
        for _ in pairs:
            metrics.SCORE_SECONDS.observe(seconds)
        self._seconds += SMOOTHING * (seconds - self._seconds)
        return results

    def _score_alone(self, pair: TextPair) -> Result:
        try:
            return self._scorer.score([pair])[0]
        except Exception as error:
            return error


def _score_of(index: int, result: Result) -> Scored:
    if isinstance(result, Unscorable):
        raise CannotScore(index, result) from result
    if isinstance(result, Exception):
        raise result
    return result
