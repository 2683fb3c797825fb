"""Answers a question while its client waits."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from datetime import UTC, datetime
from typing import Any, Protocol

import requests

from studies.baselines.celery.generations import final, judged
from studies.baselines.celery.providers import EmptyAnswer, retry_after_seconds, wait_seconds
from studies.baselines.celery.store import shown

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
QUOTA_SECONDS = 60

Question = dict[str, Any]


class GaveUp(Exception):
    """There is no answer for this client.

    Attributes:
        status: HTTP status of the reply.
        retry_after: Seconds after which a retry may succeed; None: a retry would fail, too.
    """

    def __init__(self, status: int, title: str, retry_after: float | None = None) -> None:
        super().__init__(title)
        self.status = status
        self.retry_after = retry_after


class Store(Protocol):
    """See `studies.baselines.celery.store.Store`."""

    def ask(self, question: Question) -> tuple[bool, str]:
        """Records a question; returns whether it is new, and its status."""

    def forget(self, question_id: str) -> None:
        """Deletes a new question."""

    def read(self, question_id: str) -> dict[str, Any]:
        """Returns the kept answer."""

    def complete(self, answer: dict[str, Any]) -> None:
        """Stores an answer."""


class Model(Protocol):
    """See `studies.baselines.celery.providers.Model`."""

    def ask(self, question: Question) -> dict[str, Any]:
        """Returns the next generation."""


class Scorer(Protocol):
    """See `studies.baselines.celery.providers.Scorer`."""

    def score(self, candidate: str, reference: str) -> dict[str, Any]:
        """Returns the score of an answer."""


def pause_seconds(error: Exception, retries: int, chance: float) -> float | None:
    """Returns the seconds until the retry, or None if a retry would fail, too.

    The client waits, so the first pauses are short. They double, with jitter, so that calls that failed together are
    not retried together. The provider's `Retry-After` is respected.

    Args:
        error: Error of the call.
        retries: How often this generation was already retried.
        chance: Random number from 0 to 1.
    """
    patient: float | None = wait_seconds(error, 0)
    if patient is None or patient >= QUOTA_SECONDS:
        return patient
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**retries)
    return max(float(retry_after_seconds(error)), pause * (1 + chance) / 2)


class Answering:
    """Answers questions, each in the thread of its request; concurrent requests of one question share an answer."""

    def __init__(
        self,
        store: Store,
        model: Model,
        scorer: Scorer,
        *,
        concurrency: int,
        budget_seconds: float,
        threshold: float,
        max_attempts: int,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._model, self._scorer = store, model, scorer
        self._slots = threading.BoundedSemaphore(concurrency)
        self._budget = budget_seconds
        self._threshold, self._max_attempts = threshold, max_attempts
        self._sleep, self._clock = sleep, clock
        self._lock = threading.Lock()
        self._flights: dict[str, Future[dict[str, Any]]] = {}

    def answer(self, question: Question) -> dict[str, Any]:
        """Returns the kept answer.

        Raises:
            GaveUp: There is no answer within the budget.
        """
        until = self._clock() + self._budget
        asked = question["question_id"]
        with self._lock:
            flight = self._flights.get(asked)
            if flight is None:
                own = self._flights[asked] = Future()
        if flight is not None:
            try:
                return flight.result(self._budget)
            except NotInTime:
                raise GaveUp(503, "no answer in time", 1) from None
        try:
            result = self._answer(question, until)
        except BaseException as error:
            own.set_exception(error)
            raise
        else:
            own.set_result(result)
            return result
        finally:
            with self._lock:
                del self._flights[asked]

    def _answer(self, question: Question, until: float) -> dict[str, Any]:
        # A pending row without a request in this process was left by a process that died, so it is answered again.
        _, status = self._store.ask(question)
        if status == "completed":
            return self._store.read(question["question_id"])
        try:
            kept = final(self._generate(question | {"best": None, "attempts": []}, until), datetime.now(UTC))
        except GaveUp:
            self._store.forget(question["question_id"])
            raise
        self._store.complete(kept)
        return shown(kept)

    def _generate(self, question: Question, until: float) -> Question:
        while "quality" not in question:
            generation = self._ask(question, until) | {"bert_score": None}
            question = question | {"attempts": [*question["attempts"], generation]}
            result = self._score(generation["llm_response"], question["original_answer"], until)
            question = judged(question, result, self._threshold, self._max_attempts)
        return question

    def _ask(self, question: Question, until: float) -> dict[str, Any]:
        retries = 0
        while True:
            if not self._slots.acquire(timeout=max(0.0, until - self._clock())):
                raise GaveUp(503, "the model is busy", 1)
            try:
                return self._model.ask(question)
            except (requests.RequestException, EmptyAnswer) as error:
                pause, said = pause_seconds(error, retries, random.random()), str(error)[:200]
            finally:
                self._slots.release()  # the pause before the next try needs no slot
            if pause is None:
                raise GaveUp(502, f"the model refused: {said}")
            self._wait(pause, until, said)
            retries += 1

    def _score(self, candidate: str, reference: str | None, until: float) -> dict[str, Any] | None:
        if reference is None:
            return None
        while True:
            try:
                return self._scorer.score(candidate, reference)
            except requests.RequestException as error:
                self._wait(1.0, until, f"the scorer is unavailable: {error}"[:200])

    def _wait(self, seconds: float, until: float, why: str) -> None:
        if self._clock() + seconds >= until:
            raise GaveUp(503, why, seconds)
        self._sleep(seconds)
