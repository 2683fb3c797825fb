"""What is scored together, in which order, and how much may wait."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline import metrics
from score_validator.scorer import EMPTY_ANSWER, Scored, Scorer, TextPair, Unscorable

FIRST_GUESS_SECONDS = 0.05
SMOOTHING = 0.1
MAX_RETRY_AFTER_SECONDS = 60
BATCH_SECONDS = 5.0
"""A batch that is expected to take longer is made smaller: all of its pairs would wait for the last one."""

STUCK_SECONDS = 60.0
"""A batch that takes longer is not slow, but stuck; callers give up earlier."""


class Busy(Exception):
    """Too much waits already.

    Attributes:
        retry_after_seconds: When the queue should be empty.
    """

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting} pairs wait already")
        self.retry_after_seconds = retry_after_seconds


class Expired(Exception):
    """Nobody waits for a request any more; what of it was not begun never will be.

    Attributes:
        begun: Whether the time went by in the model rather than in the queue: half of it at least.
    """

    def __init__(self, waited_seconds: float, begun: bool) -> None:
        where = "the model takes longer" if begun else "too much was before it"
        super().__init__(f"not scored within {waited_seconds:g} s: {where}")
        self.begun = begun


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


@dataclass(eq=False)
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
            scorer: A loaded one.
            max_waiting: Number of waiting pairs at which a request is turned away.
            max_batch: Pairs in a batch.
            window_seconds: How long a batch that is not full waits for more pairs. Only one of several pairs does: a
                caller who is alone would wait for nobody.
            clock: Seconds from any moment on; tells how long batches take.
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

    def score(self, pairs: Sequence[TextPair], wait_seconds: float | None = None) -> list[Scored]:
        """Scores pairs of candidate and reference; waits until all are done.

        Blank candidates score 0 without the model.

        Args:
            pairs: They are admitted together while fewer than the limit wait, so that a request with more than what is
                left is not turned away for ever.
            wait_seconds: How long the caller waits; None: as long as it takes.

        Returns:
            One score for each pair, in their order.

        Raises:
            Busy: Too much waits already.
            Expired: The caller's time is over.
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
            if not request.done.wait(wait_seconds):
                self._drop(request)
                raise Expired(wait_seconds or 0.0, begun=2 * self._seconds_in_model(request) >= (wait_seconds or 0.0))
        metrics.SCORED_PAIRS.inc(len(pairs))
        return [_score_of(index, results[index]) for index in range(len(pairs))]

    def check(self) -> None:
        """Raises RuntimeError when nothing is scored any more: the thread is stuck in a batch, or gone."""
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
        """Takes out of the queue what of a request no batch has taken."""
        with self._changed:
            if request.waiting:
                self._requests.remove(request)
                self._queued -= len(request.waiting)
                self._waiting -= len(request.waiting)
                request.waiting.clear()
                metrics.SCORE_WAITING.set(self._waiting)

    def _seconds_in_model(self, request: _Request) -> float:
        """Returns for how long pairs of a request have been in the model now; 0 for one that waits."""
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
        """Waits for pairs, and takes one of each request in turn."""
        with self._changed:
            batch: list[tuple[_Request, int]] = []
            while not batch:  # all that waits may be dropped while the window is open
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
        """Whether a batch of so many pairs is neither too large nor expected to take too long.

        The first one is a single pair: nobody knows yet how long it takes.
        """
        if pairs == 1:
            return True
        return self._measured and pairs <= self._max_batch and pairs * self._seconds <= BATCH_SECONDS

    def _score(self, pairs: list[TextPair]) -> list[Result]:
        started = self._started = self._clock()
        try:
            results: list[Result] = list(self._scorer.score(pairs))
        except Exception as error:
            # One pair may be at fault; the others must not fail with it.
            results = [error] if len(pairs) == 1 else [self._score_alone(pair) for pair in pairs]
        finally:
            self._started = None
        seconds = (self._clock() - started) / len(pairs)
        metrics.SCORE_BATCH.observe(len(pairs))
        for _ in pairs:
            metrics.SCORE_SECONDS.observe(seconds)
        # Slower is believed at once, faster bit by bit: the next batch may be like this one.
        self._seconds = max(seconds, self._seconds + SMOOTHING * (seconds - self._seconds))
        self._measured = True
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
