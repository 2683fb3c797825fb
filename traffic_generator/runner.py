"""Runs a plan: sends questions on schedule, independent of replies, and follows pending ones until they are final.

The loop in the calling thread owns all state. Two bounded thread pools make the calls and put results into the loop's
inbox, so that no state is shared and no locks are needed.
"""

import heapq
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from pipeline.api_client import QuestionState, RequestFailed
from traffic_generator.dataset import Question
from traffic_generator.plan import Plan
from traffic_generator.report import Report, Tally

# Longest delay until the loop notices a stop and shows new counts.
TICK_SECONDS = 0.2
# After a stop, outstanding replies are counted for this long.
GRACE_SECONDS = 2.0
# Long polls are cheap. If more questions are pending than there are threads, shorter polls give each question its turn.
LONG_POLL_SECONDS = 5
SHORT_POLL_SECONDS = 1
# Between the starts of two polls of one question, for servers that reply 'pending' without waiting.
POLL_INTERVAL_SECONDS = 0.5
POLL_RETRY_SECONDS = 1.0
MAX_POLL_RETRY_SECONDS = 30.0


class Api(Protocol):
    """The part of `ApiClient` that a run uses; thread-safe."""

    def ask(self, question: Mapping[str, str], /) -> QuestionState:
        """See `ApiClient.ask`."""

    def status(self, question_id: str, wait_seconds: int, /) -> QuestionState:
        """See `ApiClient.status`."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run.

    Attributes:
        wait: Whether to follow pending questions until they are final.
        timeout_seconds: Total time for that, from when the last question was sent.
        max_asking: Maximum of questions without a reply; at the limit, the next question is sent late.
        max_polling: Maximum of status calls in flight, because each uses a thread of the server.
    """

    wait: bool = False
    timeout_seconds: float = 600.0
    max_asking: int = 32
    max_polling: int = 16


@dataclass(frozen=True, slots=True)
class _Replied:
    due_at: float
    sent_at: float
    at: float
    repeated: bool
    outcome: QuestionState | RequestFailed


@dataclass(frozen=True, slots=True)
class _Polled:
    question_id: str
    begun_at: float
    at: float
    outcome: QuestionState | RequestFailed


@dataclass(frozen=True, slots=True)
class _Crashed:
    error: Exception


_Event = _Replied | _Polled | _Crashed


class _Workers:
    """A thread pool that runs calls and puts their results into the inbox; threads are started on demand.

    Its threads are daemons. Those of `concurrent.futures` would delay the exit of the process until the last call ends,
    but a stop must not wait for a server that does not answer.
    """

    def __init__(self, name: str, count: int, inbox: "SimpleQueue[_Event]") -> None:
        self._name = name
        self._inbox = inbox
        self._calls: SimpleQueue[Callable[[], _Event] | None] = SimpleQueue()
        self._count = count
        self._started = 0
        self.busy = 0

    @property
    def free(self) -> bool:
        return self.busy < self._count

    def submit(self, call: Callable[[], _Event]) -> None:
        self.busy += 1
        if self.busy > self._started:
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
            self._started += 1
        self._calls.put(call)

    def close(self) -> None:
        for _ in range(self._started):
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._inbox.put(call())
            except Exception as error:
                # A bug of this program: the loop raises it, so that it is visible.
                self._inbox.put(_Crashed(error))


class _Run:
    def __init__(
        self,
        plan: Plan,
        api: Api,
        options: Options,
        stop: threading.Event,
        on_progress: Callable[[Tally], None],
    ) -> None:
        self._plan = plan
        self._api = api
        self._options = options
        self._stop = stop
        self._on_progress = on_progress
        self._tally = Tally(requested=len(plan))
        self._inbox: SimpleQueue[_Event] = SimpleQueue()
        self._askers = _Workers("ask", options.max_asking, self._inbox)
        self._pollers = _Workers("poll", options.max_polling, self._inbox)
        self._identities: set[int] = set()
        # When each pending question was sent; several times if it was asked again while pending.
        self._pending: dict[str, list[float]] = {}
        # When each pending question was last seen without an answer.
        self._seen_pending_at: dict[str, float] = {}
        self._next_polls: list[tuple[float, str]] = []
        self._poll_failures: dict[str, int] = {}
        self._started_at = time.monotonic()
        self._last_reply_at = self._started_at
        self._asked_all_at: float | None = None
        self._stopped_at: float | None = None
        self._timed_out = False

    def run(self) -> Report:
        try:
            while True:
                now = time.monotonic()
                if self._stopped_at is None and self._stop.is_set():
                    self._stopped_at = now
                if self._stopped_at is None:
                    self._ask_due(now)
                    self._poll_due(now)
                self._on_progress(self._tally)
                if self._is_over(now):
                    break
                self._take(self._seconds_to_next(now))
            for _ in range(self._tally.in_flight):
                self._tally.went_wrong("no reply before the stop")
            self._on_progress(self._tally)
        finally:
            self._askers.close()
            self._pollers.close()
        return Report(
            tally=self._tally,
            duration_seconds=time.monotonic() - self._started_at,
            asking_seconds=self._last_reply_at - self._started_at,
            interrupted=self._stopped_at is not None,
            timed_out=self._timed_out,
            predicted=self._plan.predict(self._tally.asked),
        )

    def _ask_due(self, now: float) -> None:
        while self._tally.asked < len(self._plan) and self._askers.free and (due_at := self._next_due()) <= now:
            index = self._tally.asked
            identity = self._plan.identity(index)
            repeated = identity in self._identities
            self._identities.add(identity)
            self._tally.sent(late_seconds=now - due_at, repeated=repeated)
            self._askers.submit(partial(self._ask, self._plan.question(index), due_at, repeated))
        if self._tally.asked == len(self._plan) and self._asked_all_at is None:
            self._asked_all_at = now

    def _next_due(self) -> float:
        return self._started_at + self._plan.due_seconds[self._tally.asked]

    def _poll_due(self, now: float) -> None:
        few = len(self._pending) <= self._options.max_polling
        seconds = LONG_POLL_SECONDS if few else SHORT_POLL_SECONDS
        if self._asked_all_at is not None:
            left = self._asked_all_at + self._options.timeout_seconds - now
            seconds = max(0, min(seconds, int(left)))
        while self._next_polls and self._pollers.free and self._next_polls[0][0] <= now:
            _, question_id = heapq.heappop(self._next_polls)
            self._pollers.submit(partial(self._poll, question_id, seconds))

    def _is_over(self, now: float) -> bool:
        if self._stopped_at is not None:
            return not self._tally.in_flight or now >= self._stopped_at + GRACE_SECONDS
        if self._asked_all_at is None or self._tally.in_flight:
            return False
        if not self._options.wait or not self._tally.pending:
            return True
        self._timed_out = now >= self._asked_all_at + self._options.timeout_seconds
        return self._timed_out

    def _seconds_to_next(self, now: float) -> float:
        times = [now + TICK_SECONDS]
        if self._tally.asked < len(self._plan) and self._askers.free and self._stopped_at is None:
            times.append(self._next_due())
        if self._next_polls and self._pollers.free and self._stopped_at is None:
            times.append(self._next_polls[0][0])
        return max(0.0, min(times) - now)

    def _take(self, seconds: float) -> None:
        try:
            self._apply(self._inbox.get(timeout=seconds))
            while True:
                self._apply(self._inbox.get_nowait())
        except Empty:
            return

    def _apply(self, event: _Event) -> None:
        match event:
            case _Replied():
                self._askers.busy -= 1
                self._last_reply_at = max(self._last_reply_at, event.at)
                self._apply_reply(event)
            case _Polled():
                self._pollers.busy -= 1
                self._apply_poll(event)
            case _Crashed():
                raise event.error

    def _apply_reply(self, event: _Replied) -> None:
        if not isinstance(event.outcome, RequestFailed):
            self._tally.since_due_seconds.append(event.at - event.due_at)
        match event.outcome:
            case RequestFailed() as failure:
                self._tally.went_wrong(failure.reason)
            case QuestionState(status="completed", source=source):
                self._tally.answered_at_once(event.at - event.sent_at, source, repeated=event.repeated)
            case QuestionState(status="failed"):
                self._tally.gave_up("failed before it was asked", was_pending=False)
            case QuestionState(question_id=question_id):
                self._tally.accepted_for_later(event.at - event.sent_at, repeated=event.repeated)
                if not self._options.wait:
                    return
                if question_id not in self._pending:
                    heapq.heappush(self._next_polls, (event.at, question_id))
                    self._seen_pending_at[question_id] = event.at
                self._pending.setdefault(question_id, []).append(event.sent_at)

    def _apply_poll(self, event: _Polled) -> None:
        match event.outcome:
            case RequestFailed(permanent=True) as failure:
                for _ in self._pending.pop(event.question_id):
                    self._tally.went_wrong(failure.reason, was_pending=True)
            case RequestFailed() as failure:
                failures = self._poll_failures.get(event.question_id, 0) + 1
                self._poll_failures[event.question_id] = failures
                pause = failure.retry_after_seconds or POLL_RETRY_SECONDS * 2 ** min(failures - 1, 10)
                next_poll = event.at + min(pause, MAX_POLL_RETRY_SECONDS)
                heapq.heappush(self._next_polls, (next_poll, event.question_id))
            case QuestionState(status="completed"):
                # The server delays the reply to a poll until the answer exists, so the delay cannot be longer.
                unseen = max(0.0, event.begun_at - self._seen_pending_at.pop(event.question_id))
                for sent_at in self._pending.pop(event.question_id):
                    self._tally.answered(event.at - sent_at, unseen_seconds=unseen)
            case QuestionState(status="failed") as state:
                for _ in self._pending.pop(event.question_id):
                    self._tally.gave_up(state.reason)
            case QuestionState():
                self._poll_failures.pop(event.question_id, None)
                self._seen_pending_at[event.question_id] = event.at
                next_poll = max(event.at, event.begun_at + POLL_INTERVAL_SECONDS)
                heapq.heappush(self._next_polls, (next_poll, event.question_id))

    def _ask(self, question: Question, due_at: float, repeated: bool) -> _Replied:
        sent_at = time.monotonic()
        outcome: QuestionState | RequestFailed
        try:
            outcome = self._api.ask(question.body())
        except RequestFailed as failure:
            outcome = failure
        return _Replied(due_at, sent_at, time.monotonic(), repeated, outcome)

    def _poll(self, question_id: str, wait_seconds: int) -> _Polled:
        begun_at = time.monotonic()
        outcome: QuestionState | RequestFailed
        try:
            outcome = self._api.status(question_id, wait_seconds)
        except RequestFailed as failure:
            outcome = failure
        return _Polled(question_id, begun_at, time.monotonic(), outcome)


def run(
    plan: Plan,
    api: Api,
    options: Options,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> Report:
    """Asks the planned questions and returns when all are final, at the timeout, or when `stop` is set.

    The loop is open: a slow reply does not delay the next question until `max_asking` are in flight. Failed requests
    are counted and not retried, because a user would have seen the error. Status calls are retried until the timeout.

    Args:
        plan: The questions and their times.
        api: The API; called from many threads.
        options: Limits of concurrency and time.
        stop: Ends the run early: nothing more is sent, and outstanding replies are counted for 2 s.
        on_progress: Called in this thread with the counts, at least five times per second; must not keep or change
            them.
    """
    return _Run(plan, api, options, stop or threading.Event(), on_progress).run()
