"""Queue and batches of concurrent requests."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline import metrics
from score_validator.scorer import EMPTY_ANSWER, InvalidPair, Scored, Scorer, TextPair, Unscorable

FIRST_GUESS_SECONDS = 0.05
SMOOTHING = 0.1
MAX_RETRY_AFTER_SECONDS = 60
BATCH_SECONDS = 5.0
"""Limit of the expected time of a batch, because all of its pairs wait for the last one."""

STUCK_SECONDS = 60.0
"""A batch that takes longer counts as stuck, not slow; callers time out earlier."""


class Busy(Exception):
    """The queue is full.

    Attributes:
        retry_after_seconds: Estimated time until the queue is empty.
    """

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting} pairs are already waiting")
        self.retry_after_seconds = retry_after_seconds


class Expired(Exception):
    """The caller of a request waits no longer; its pairs that were not started are dropped.

    Attributes:
        begun: Whether at least half of the time passed in the model, not in the queue.
    """

    def __init__(self, waited_seconds: float, begun: bool) -> None:
        where = "the model takes longer" if begun else "the queue is too long"
        super().__init__(f"not scored within {waited_seconds:g} s: {where}")
        self.begun = begun


Result = Scored | Unscorable | InvalidPair | Exception


@dataclass(eq=False)
class _Request:
    """The pairs of one request and their results.

    Attributes:
        pairs: The pairs to score.
        waiting: Indices of the pairs that are not in a batch yet.
        results: Results by index.
        done: Set when every pair has a result.
    """

    pairs: Sequence[TextPair]
    waiting: deque[int]
    results: dict[int, Result]
    done: threading.Event = field(default_factory=threading.Event)


class Scoring:
    """Passes the pairs of concurrent requests to a scorer, in batches.

    A single thread computes: inference libraries keep threads for each thread that calls them, and a lock would not be
    fair. Pairs that arrive while a batch is computed form the next batch. Requests take turns, pair by pair, so that a
    single pair does not wait behind a request with many.
    """

    def __init__(
        self,
        scorer: Scorer,
        max_waiting: int,
        max_batch: int = 32,
        window_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the thread.

        Args:
            scorer: A loaded scorer.
            max_waiting: Number of waiting pairs from which on a request is rejected.
            max_batch: Maximum of pairs in a batch.
            window_seconds: How long a batch that is not full waits for more pairs. A single pair never waits, because
                a lone caller would wait without effect.
            clock: Monotonic seconds; measures the time of batches.
        """
        self.name = scorer.name
        self.baseline = scorer.baseline
        self._scorer = scorer
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._window = window_seconds
        self._clock = clock
        self._changed = threading.Condition()
        self._requests: deque[_Request] = deque()
        self._queued = 0
        self._waiting = 0
        self._seconds = FIRST_GUESS_SECONDS
        self._measured = False
        self._started: float | None = None
        self._in_model: Sequence[_Request] = ()
        self._thread = threading.Thread(target=self._run, name="scoring", daemon=True)
        self._thread.start()

    def score(
        self, pairs: Sequence[TextPair], wait_seconds: float | None = None
    ) -> list[Scored | Unscorable | InvalidPair]:
        """Scores pairs of candidate and reference; waits until all are done.

        Blank candidates score 0 without the model.

        Args:
            pairs: They are admitted together if fewer than the limit wait, so that a large request is not rejected
                permanently.
            wait_seconds: How long the caller waits; None: without limit.

        Returns:
            For each pair, in order, its score, or why it has none.

        Raises:
            Busy: The queue is full.
            Expired: The caller's time is over.
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
            if not request.done.wait(wait_seconds):
                self._drop(request)
                raise Expired(wait_seconds or 0.0, begun=2 * self._seconds_in_model(request) >= (wait_seconds or 0.0))
        scored = [_without_failure(results[index]) for index in range(len(pairs))]
        _count(scored)
        return scored

    def check(self) -> None:
        """Raises RuntimeError if the thread is stuck in a batch or has ended."""
        started = self._started
        if started is not None and (seconds := self._clock() - started) > STUCK_SECONDS:
            raise RuntimeError(f"a batch has been in the model for {seconds:.0f} s")
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

    def _drop(self, request: _Request) -> None:
        """Removes the pairs of a request that are not in a batch from the queue."""
        with self._changed:
            if request.waiting:
                self._requests.remove(request)
                self._queued -= len(request.waiting)
                self._waiting -= len(request.waiting)
                request.waiting.clear()
                metrics.SCORE_WAITING.set(self._waiting)

    def _seconds_in_model(self, request: _Request) -> float:
        """Returns how long the current batch with pairs of this request has been in the model; 0 if there is none."""
        started = self._started
        return self._clock() - started if started is not None and request in self._in_model else 0.0

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            self._in_model = [request for request, _ in batch]
            results = self._score([request.pairs[index] for request, index in batch])
            with self._changed:
                self._waiting -= len(batch)
                metrics.SCORE_WAITING.set(self._waiting)
            for (request, index), result in zip(batch, results, strict=True):
                request.results[index] = result
                if len(request.results) == len(request.pairs):
                    request.done.set()

    def _next_batch(self) -> list[tuple[_Request, int]]:
        """Waits for pairs, and takes one of each request in turns."""
        with self._changed:
            batch: list[tuple[_Request, int]] = []
            while not batch:  # all waiting pairs may be dropped during the window
                self._changed.wait_for(lambda: self._queued)
                if self._window and 1 < self._queued < self._max_batch:
                    self._changed.wait_for(lambda: self._queued >= self._max_batch, self._window)
                batch = self._take()
            return batch

    def _take(self) -> list[tuple[_Request, int]]:
        batch: list[tuple[_Request, int]] = []
        while self._requests and self._fits(len(batch) + 1):
            request = self._requests.popleft()
            batch.append((request, request.waiting.popleft()))
            if request.waiting:
                self._requests.append(request)
        self._queued -= len(batch)
        return batch

    def _fits(self, pairs: int) -> bool:
        """Returns whether a batch with this number of pairs is neither too large nor expected to take too long.

        The first batch is a single pair, because the time of a pair is unknown.
        """
        if pairs == 1:
            return True
        return self._measured and pairs <= self._max_batch and pairs * self._seconds <= BATCH_SECONDS

    def _score(self, pairs: list[TextPair]) -> list[Result]:
        started = self._started = self._clock()
        try:
            results: list[Result] = list(self._scorer.score(pairs))
        except Exception as error:
            # One pair may be the cause; the others must not fail with it.
            results = [error] if len(pairs) == 1 else [self._score_alone(pair) for pair in pairs]
        finally:
            self._started = None
        seconds = (self._clock() - started) / len(pairs)
        metrics.SCORE_BATCH.observe(len(pairs))
        for _ in pairs:
            metrics.SCORE_SECONDS.observe(seconds)
        # A slower batch raises the estimate immediately, a faster one lowers it gradually.
        self._seconds = max(seconds, self._seconds + SMOOTHING * (seconds - self._seconds))
        self._measured = True
        return results

    def _score_alone(self, pair: TextPair) -> Result:
        try:
            return self._scorer.score([pair])[0]
        except Exception as error:
            return error


def _without_failure(result: Result) -> Scored | Unscorable | InvalidPair:
    if isinstance(result, Scored | Unscorable | InvalidPair):
        return result
    raise result


def _count(results: Sequence[Scored | Unscorable | InvalidPair]) -> None:
    for each in results:
        if isinstance(each, InvalidPair):
            continue
        metrics.SCORED_PAIRS.inc()
        if isinstance(each, Unscorable):
            metrics.UNSCORABLE_PAIRS.labels(reason=each.reason).inc()
        for warning in each.warnings:
            metrics.SCORE_WARNINGS.labels(warning=warning).inc()
