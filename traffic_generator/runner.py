"""A run: questions go out by the clock, whatever becomes of them, and pending ones are followed to their end.

The loop in the calling thread owns all state. Calls are made by two bounded sets of threads that put what came of a
call into its inbox, so nothing is locked and nothing is shared.
"""

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from traffic_generator import client
from traffic_generator.client import RequestFailed
from traffic_generator.dataset import Question
from traffic_generator.plan import Plan
from traffic_generator.report import Report, Tally

# How soon the loop sees a stop and shows new counts.
TICK_SECONDS = 0.2
# After a stop, replies that are on their way are still counted for so long.
GRACE_SECONDS = 2.0
# A look that the server holds back for as long as this is cheap; with more questions pending than threads, shorter
# ones give each question its turn.
LONG_LOOK_SECONDS = 5
SHORT_LOOK_SECONDS = 1
# Between the beginnings of two looks at one question, for servers that answer 'pending' without waiting.
LOOK_INTERVAL_SECONDS = 0.5
LOOK_RETRY_SECONDS = 1.0
LOOK_RETRY_MOST_SECONDS = 30.0


class Api(Protocol):
    """What a run needs of `client.StorageClient`; may be called from many threads."""

    def ask(self, question: Question) -> client.Reply:
        """See `client.StorageClient.ask`."""

    def look(self, question_id: str, wait_seconds: int) -> client.Progress:
        """See `client.StorageClient.look`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a run goes.

    Attributes:
        wait: Follow pending questions to their end.
        timeout_seconds: How long for, counted from when the last question was sent; for all of them together.
        max_asking: Questions in flight at most; while there are so many, the next one is late.
        max_looking: Status calls in flight at most: each holds a thread of the server.
    """

    wait: bool = False
    timeout_seconds: float = 600.0
    max_asking: int = 32
    max_looking: int = 16


@dataclass(frozen=True, slots=True)
class _Replied:
    due_at: float
    sent_at: float
    at: float
    repeated: bool
    outcome: client.Reply | RequestFailed


@dataclass(frozen=True, slots=True)
class _Looked:
    question_id: str
    begun_at: float
    at: float
    outcome: client.Progress | RequestFailed


@dataclass(frozen=True, slots=True)
class _Crashed:
    error: Exception


_Event = _Replied | _Looked | _Crashed


class _Workers:
    """Threads that run calls and put their outcome into the inbox; no more are started than were ever busy.

    They are daemons, unlike those of `concurrent.futures`, which hold back the exit of the process until the last
    call is over: a stop must not wait for a server that does not answer.
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
                # A mistake of this program: the loop raises it, where it is seen.
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
        self._lookers = _Workers("look", options.max_looking, self._inbox)
        self._identities: set[int] = set()
        # The times at which each pending question was sent: one asked again while pending joins the first.
        self._pending: dict[str, list[float]] = {}
        # When each pending question was known to have no answer yet.
        self._seen_pending_at: dict[str, float] = {}
        self._next_looks: list[tuple[float, str]] = []
        self._look_failures: dict[str, int] = {}
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
                    self._ask_what_is_due(now)
                    self._look_where_due(now)
                self._on_progress(self._tally)
                if self._is_over(now):
                    break
                self._take(self._seconds_to_next(now))
            for _ in range(self._tally.in_flight):
                self._tally.went_wrong("no reply before the stop")
            self._on_progress(self._tally)
        finally:
            self._askers.close()
            self._lookers.close()
        return Report(
            tally=self._tally,
            duration_seconds=time.monotonic() - self._started_at,
            asking_seconds=self._last_reply_at - self._started_at,
            interrupted=self._stopped_at is not None,
            timed_out=self._timed_out,
            predicted=self._plan.predict(self._tally.asked),
        )

    def _ask_what_is_due(self, now: float) -> None:
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

    def _look_where_due(self, now: float) -> None:
        few = len(self._pending) <= self._options.max_looking
        seconds = LONG_LOOK_SECONDS if few else SHORT_LOOK_SECONDS
        if self._asked_all_at is not None:
            left = self._asked_all_at + self._options.timeout_seconds - now
            seconds = max(0, min(seconds, int(left)))
        while self._next_looks and self._lookers.free and self._next_looks[0][0] <= now:
            _, question_id = heapq.heappop(self._next_looks)
            self._lookers.submit(partial(self._look, question_id, seconds))

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
        if self._next_looks and self._lookers.free and self._stopped_at is None:
            times.append(self._next_looks[0][0])
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
            case _Looked():
                self._lookers.busy -= 1
                self._apply_look(event)
            case _Crashed():
                raise event.error

    def _apply_reply(self, event: _Replied) -> None:
        if not isinstance(event.outcome, RequestFailed):
            self._tally.since_due_seconds.append(event.at - event.due_at)
        match event.outcome:
            case RequestFailed() as failure:
                self._tally.went_wrong(failure.reason)
            case client.Reply(status="completed", source=source):
                self._tally.answered_at_once(event.at - event.sent_at, source, repeated=event.repeated)
            case client.Reply(status="failed"):
                self._tally.gave_up("failed before it was asked", was_pending=False)
            case client.Reply(question_id=question_id):
                self._tally.accepted_for_later(event.at - event.sent_at, repeated=event.repeated)
                if not self._options.wait:
                    return
                if question_id not in self._pending:
                    heapq.heappush(self._next_looks, (event.at, question_id))
                    self._seen_pending_at[question_id] = event.at
                self._pending.setdefault(question_id, []).append(event.sent_at)

    def _apply_look(self, event: _Looked) -> None:
        match event.outcome:
            case RequestFailed(permanent=True) as failure:
                for _ in self._pending.pop(event.question_id):
                    self._tally.went_wrong(failure.reason, was_pending=True)
            case RequestFailed() as failure:
                failures = self._look_failures.get(event.question_id, 0) + 1
                self._look_failures[event.question_id] = failures
                pause = failure.retry_after_seconds or LOOK_RETRY_SECONDS * 2 ** min(failures - 1, 10)
                next_look = event.at + min(pause, LOOK_RETRY_MOST_SECONDS)
                heapq.heappush(self._next_looks, (next_look, event.question_id))
            case client.Progress(status="completed"):
                # The server holds the look back until the answer is there, so it cannot have been there for longer.
                unseen = max(0.0, event.begun_at - self._seen_pending_at.pop(event.question_id))
                for sent_at in self._pending.pop(event.question_id):
                    self._tally.answered(event.at - sent_at, unseen_seconds=unseen)
            case client.Progress(status="failed") as progress:
                for _ in self._pending.pop(event.question_id):
                    self._tally.gave_up(progress.reason)
            case client.Progress():
                self._look_failures.pop(event.question_id, None)
                self._seen_pending_at[event.question_id] = event.at
                next_look = max(event.at, event.begun_at + LOOK_INTERVAL_SECONDS)
                heapq.heappush(self._next_looks, (next_look, event.question_id))

    def _ask(self, question: Question, due_at: float, repeated: bool) -> _Replied:
        sent_at = time.monotonic()
        outcome: client.Reply | RequestFailed
        try:
            outcome = self._api.ask(question)
        except RequestFailed as failure:
            outcome = failure
        return _Replied(due_at, sent_at, time.monotonic(), repeated, outcome)

    def _look(self, question_id: str, wait_seconds: int) -> _Looked:
        begun_at = time.monotonic()
        outcome: client.Progress | RequestFailed
        try:
            outcome = self._api.look(question_id, wait_seconds)
        except RequestFailed as failure:
            outcome = failure
        return _Looked(question_id, begun_at, time.monotonic(), outcome)


def run(
    plan: Plan,
    api: Api,
    options: Options,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Tally], None] = lambda tally: None,
) -> Report:
    """Asks the planned questions one by one and returns when all is over, the time is up or `stop` is set.

    The loop is open: a slow reply does not delay the next question, until `max_asking` are in flight. A question is
    sent once and an error is counted, not repeated: a visitor would have seen it. Status calls are repeated until
    the time is up.

    Args:
        plan: What to ask, and when.
        api: Where to; called from many threads.
        options: Width and patience.
        stop: Ends the run early once set: nothing more is sent, replies on their way are counted for 2 s more.
        on_progress: Called in this thread with the counts, at least five times a second; must not keep or change them.
    """
    return _Run(plan, api, options, stop or threading.Event(), on_progress).run()
