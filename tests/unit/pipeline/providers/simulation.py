"""Simulation of workers that call a rate-limited provider, in virtual time; used only by the tests of the limiter.

Nothing here waits: a run of minutes takes milliseconds.
"""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.providers.hints import Limit
from pipeline.providers.limiter import Book, Bounds, Limiter

MINUTE = 60.0
BEGIN = 1_000_000_020.0
"""A whole number of minutes since the epoch."""


class SlidingWindow:
    """Admits at most `rpm` calls in any 60 seconds."""

    def __init__(self, rpm):
        self.rpm = rpm
        self._taken = deque()

    def admits(self, now):
        while self._taken and self._taken[0] <= now - MINUTE:
            self._taken.popleft()
        if len(self._taken) >= self.rpm:
            return False
        self._taken.append(now)
        return True

    def standing(self, now):
        """Returns the number of calls left, and the seconds until there are more."""
        return self.rpm - len(self._taken), self._taken[0] + MINUTE - now if self._taken else 0.0


class FixedWindow:
    """Admits at most `rpm` calls in each minute of the clock."""

    def __init__(self, rpm):
        self.rpm = rpm
        self._minute, self._taken = None, 0

    def admits(self, now):
        if int(now // MINUTE) != self._minute:
            self._minute, self._taken = int(now // MINUTE), 0
        if self._taken >= self.rpm:
            return False
        self._taken += 1
        return True

    def standing(self, now):
        return self.rpm - self._taken, MINUTE - now % MINUTE


class TokenBucket:
    """Refills at `rpm` calls per minute, up to `size` calls."""

    def __init__(self, rpm, size=None):
        self.rpm = rpm
        self._size = size or rpm
        self._left, self._at = float(self._size), None

    def admits(self, now):
        if self._at is not None:
            self._left = min(self._size, self._left + (now - self._at) * self.rpm / MINUTE)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def standing(self, now):
        return int(self._left), (self._size - self._left) * MINUTE / self.rpm


@dataclass(frozen=True)
class Run:
    """Result of a simulation.

    Attributes:
        seconds: Time until the last question was answered.
        refused: Number of calls that the provider refused.
        answered: Number of calls that it answered.
        peak: Highest number of calls in flight.
    """

    seconds: float
    refused: int
    answered: int
    peak: int


def header_limits_of(provider, now):
    """Returns the limits in the headers of each answer, as OpenAI sends them."""
    remaining, reset = provider.standing(now)
    return (Limit("requests", provider.rpm, remaining, reset, None),)


def message_limits_of(provider, now):
    """Returns the limit in the message of a refusal."""
    return (Limit("requests", provider.rpm, 0, None, MINUTE),)


def nothing(provider, now):
    return ()


class Simulation:
    """Workers that call a provider through one limiter."""

    def __init__(
        self,
        provider,
        questions: int,
        bounds: Bounds,
        headers: Callable = nothing,
        words: Callable = nothing,
        retry_after: float | None = None,
        begin: float = 0.0,
        latency: float = 1.0,
        seed: int = 1,
    ):
        self._provider, self._bounds = provider, bounds
        self._headers, self._words, self._retry_after = headers, words, retry_after
        self._begin, self._latency = BEGIN + begin, latency
        self._random = random.Random(seed)
        self.book = Book()
        self._events, self._numbers = [], itertools.count()
        self._queue, self._questions = deque(range(questions)), questions
        self._answered, self._refused, self._in_flight, self._peak = 0, 0, 0, 0

    def run(self, at: float = 0.0, meanwhile: Callable = lambda simulation: None, longest: float = 3600.0) -> Run:
        """Runs until all questions are answered; calls `meanwhile` once, `at` seconds from the beginning."""
        for worker in range(self._bounds.concurrency):
            self._later(self._begin + worker * 0.01, self._work, worker, None)
        self._later(self._begin + at, lambda now: meanwhile(self))
        now = self._begin
        while self._answered < self._questions and now < self._begin + longest:
            now, _, event, arguments = heapq.heappop(self._events)
            event(*arguments, now)
        return Run(now - self._begin, self._refused, self._answered, self._peak)

    def _limiter(self):
        return Limiter(self.book, self._bounds)

    def _later(self, at, event, *arguments):
        heapq.heappush(self._events, (at, next(self._numbers), event, arguments))

    def _work(self, worker, question, now):
        if question is None:
            if not self._queue:
                self._later(now + 0.05, self._work, worker, None)
                return
            question = self._queue.popleft()
        call = str(next(self._numbers))
        wait = self._limiter().admit(call, f"replica {worker % 2}", 100, now)
        if wait:
            self._later(now + min(wait, 8) + self._random.random() * 0.05, self._work, worker, question)
            return
        self._in_flight += 1
        self._peak = max(self._peak, self._in_flight)
        self._later(now + self._random.random() * 0.02, self._arrive, worker, question, call)

    def _arrive(self, worker, question, call, now):
        if self._provider.admits(now):
            self._later(now + self._latency * (0.8 + 0.4 * self._random.random()), self._answer, worker, call)
        else:
            self._later(now + 0.005, self._refuse, worker, question, call)

    def _answer(self, worker, call, now):
        self._in_flight -= 1
        self._answered += 1
        self._limiter().answered(call, 100, self._headers(self._provider, now), now)
        self._work(worker, None, now)

    def _refuse(self, worker, question, call, now):
        self._in_flight -= 1
        self._refused += 1
        limits = (*self._words(self._provider, now), *self._headers(self._provider, now))
        self._limiter().refused(call, "rate_limit", self._retry_after, "slow down", limits, now)
        self._later(now + max(2.0, self._retry_after or 0.0), lambda later: self._queue.append(question))
        self._work(worker, None, now)
