"""Judges one answer: cached judgement, budget, one call, and what follows from its outcome."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from judge_service.calls import Call, Judged
from judge_service.case import Case
from judge_service.notes import Notes
from judge_service.settings import with_own_names
from pipeline import metrics
from pipeline.errors import Unavailable
from pipeline.messages import NOT_ADMITTED, Cause, Judgement, ProviderError
from pipeline.providers.api import CallFailed
from pipeline.providers.charges import Budget, Charges
from pipeline.providers.day_budget import tokens_at_most
from pipeline.providers.targets import Target

log = structlog.get_logger()

FINAL: frozenset[Cause] = frozenset({"refused_content", "context_length"})
"""Causes that depend on the answer alone: the judge will never judge it."""
TEMPORARY: frozenset[Cause] = NOT_ADMITTED | {"unavailable"}
"""Causes that end without a change of the settings."""

SAME_CALL_SECONDS = 1.0
"""Time after which a copy of a request checks again whether the call that it would repeat has ended."""
RETRY_SECONDS = 5.0
"""Time after which a call that failed for a while is repeated, unless the provider says otherwise."""
MAX_FAILURES = 5
"""Failures of one call, each while another answer was judged, after which its answer is refused."""
LONG_RETRY_SECONDS = 60.0
"""The same for a reply without a verdict, which costs tokens, and for a call that fails until the settings change."""
MAX_TRACKED = 10_000
"""Number of failed calls that are remembered."""
SLOT_SECONDS = 0.25
"""Time after which a call that waits for a free slot is tried again."""
PATIENCE_SECONDS = 10.0
"""Longest time for which a request waits here for a free slot, before its caller has to ask again."""


class Caller(Protocol):
    """Client of the judge's API."""

    def prepare(self, case: Case, /) -> Call:
        """Returns the request of a case."""

    def close(self) -> None:
        """Cancels running calls."""


class Provider(Protocol):
    """Makes calls within the limits of the judge's provider."""

    @property
    def target(self) -> Target:
        """Model, address, price."""

    @property
    def answer_tokens(self) -> int:
        """Maximum number of tokens of a reply."""

    def ask(self, request: Call, question_id: str, /) -> Judged:
        """Makes one call; raises `CallFailed`, or `Unavailable` while the provider admits no call."""


class Cache(Protocol):
    """Recent judgements."""

    def get(self, call_id: str, /) -> Judgement | None:
        """Returns a judgement, if it is cached."""

    def put(self, call_id: str, judgement: Judgement, /) -> None:
        """Stores a judgement."""


class Judge:
    """Judges answers. Safe to use from several threads; it is the `Background` of the application."""

    def __init__(
        self,
        caller: Caller,
        provider: Provider,
        cache: Cache,
        budget: Budget,
        notes: Notes,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Makes a judge.

        Args:
            caller: Prepares the calls.
            provider: Makes the calls.
            cache: Recent judgements.
            budget: The day's budget of calls.
            notes: Notes in `/health`.
            patience_seconds: Longest time for which a request waits for a free slot.
        """
        self._caller = caller
        self._provider = provider
        self._cache = cache
        self._budget = budget
        self._charges = Charges(budget, metrics.JUDGE_TOKENS, metrics.JUDGE_COST)
        self._notes = notes
        self._patience_seconds = patience_seconds
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards the attributes below
        self._asking: set[str] = set()
        self._judged = 0
        self._failures: OrderedDict[str, tuple[int, int]] = OrderedDict()
        """Calls whose last try failed: their number of failures that count, and `_judged` at the last one."""
        self._trouble: tuple[Cause, int | None] | None = None

    def judge(self, case: Case, question_id: str) -> Judgement:
        """Judges an answer.

        Raises:
            Unavailable: There is no judgement now; a later call may get one.
        """
        target = self._provider.target
        if not case.answer.strip():
            return Judgement(probability=0.0, problem="off_topic", model=target.model)
        call = self._caller.prepare(case)
        call_id = call.id(target)
        with self._alone_with(call_id):
            known = self._cache.get(call_id)
            if known:
                metrics.JUDGE_CALLS.labels("spared").inc()
                return known
            closed = self._budget.closed_seconds()
            if closed:
                raise Unavailable("the day's budget is used up", closed, already_logged=True)
            judgement = self._ask(call, call_id, question_id)
            self._cache.put(call_id, judgement)
        return judgement

    def start(self) -> None:
        """Does nothing: the threads of the client run already."""

    def release(self) -> None:
        """Ends the waits for a free slot."""
        self._stopping.set()

    def close(self) -> None:
        """Cancels running calls."""
        self._stopping.set()
        self._caller.close()

    @contextmanager
    def _alone_with(self, call_id: str) -> Iterator[None]:
        """Allows one call of a kind at a time; a later copy then finds its judgement in the cache."""
        with self._lock:
            if call_id in self._asking:
                raise Unavailable("this call is being made", SAME_CALL_SECONDS, already_logged=True)
            self._asking.add(call_id)
        try:
            yield
        finally:
            with self._lock:
                self._asking.discard(call_id)

    def _ask(self, call: Call, call_id: str, question_id: str) -> Judgement:
        try:
            judged = self._admitted(call, question_id)
        except CallFailed as failure:
            return self._failed(failure, call_id, question_id)
        with self._lock:
            self._judged += 1
            self._failures.pop(call_id, None)
        metrics.JUDGE_CALLS.labels("judgement").inc()
        self._works()
        target, verdict = self._provider.target, judged.verdict
        cost = self._charges.charge(target, verdict.usage)
        if not verdict.usage.prompt_tokens + verdict.usage.completion_tokens:
            self._charges.charge_at_most(target, tokens_at_most(call.size, "") + self._provider.answer_tokens)
            cost = None
        log.info(
            "judged an answer",
            question_id=question_id,
            probability=round(verdict.probability, 3),
            problem=verdict.problem,
            tokens=verdict.usage.prompt_tokens + verdict.usage.completion_tokens,
        )
        return Judgement(
            probability=verdict.probability,
            problem=verdict.problem,
            model=verdict.model,
            prompt_tokens=verdict.usage.prompt_tokens,
            completion_tokens=verdict.usage.completion_tokens,
            cost=cost,
        )

    def _admitted(self, call: Call, question_id: str) -> Judged:
        """Makes a call; waits for a free slot, but not for an unavailable provider."""
        until = time.monotonic() + self._patience_seconds
        while True:
            started = time.monotonic()
            try:
                judged = self._provider.ask(call, question_id)
            except CallFailed:
                metrics.JUDGE_SECONDS.observe(time.monotonic() - started)
                raise
            except Unavailable as error:
                wait = error.wait_seconds or SLOT_SECONDS
                if time.monotonic() + wait > until or self._stopping.wait(wait):
                    raise
            else:
                metrics.JUDGE_SECONDS.observe(time.monotonic() - started)
                return judged

    def _failed(self, failure: CallFailed, call_id: str, question_id: str) -> Judgement:
        error = failure.error
        cost = self._charges.charge(self._provider.target, failure.usage)
        message = with_own_names(error.message)
        about = log.bind(question_id=question_id, cause=error.cause, status=error.status_code, error=message)
        if error.cause in FINAL or (error.cause not in NOT_ADMITTED and self._always_fails(call_id)):
            metrics.JUDGE_CALLS.labels("refused").inc()
            self._works()
            about.warning("the judge refused an answer")
            return Judgement(
                probability=None,
                problem="refused",
                model=self._provider.target.model,
                prompt_tokens=failure.usage.prompt_tokens,
                completion_tokens=failure.usage.completion_tokens,
                cost=cost,
            )
        metrics.JUDGE_CALLS.labels(error.type).inc()
        if error.cause in TEMPORARY or error.cause == "no_answer":
            about.warning("failed to get a judgement", meaning=error.type)
        else:
            self._log_once(error, message, about)
        if error.cause in TEMPORARY:
            wait = error.retry_after_seconds or RETRY_SECONDS
            raise Unavailable(f"the judge is unavailable: {message}", wait, already_logged=True)
        raise Unavailable(f"no judgement: {message}", LONG_RETRY_SECONDS, already_logged=True)

    def _always_fails(self, call_id: str) -> bool:
        """Counts a failure; returns whether the call itself seems to be the cause, because others get verdicts."""
        with self._lock:
            times, judged = self._failures.pop(call_id, (0, self._judged))
            times += self._judged > judged
            if times >= MAX_FAILURES:
                return True
            self._failures[call_id] = (times, self._judged)
            if len(self._failures) > MAX_TRACKED:
                self._failures.popitem(last=False)
            return False

    def _log_once(self, error: ProviderError, message: str, about: structlog.stdlib.BoundLogger) -> None:
        """Logs a failure that lasts until the settings change, when it is a new one."""
        trouble = (error.cause, error.status_code)
        with self._lock:
            known, self._trouble = self._trouble, trouble
        if trouble != known:
            about.error("the judge cannot be asked with these settings")
            self._notes.set("calls", f"no call succeeds with these settings ({error.cause}): {message}")

    def _works(self) -> None:
        """Logs that calls succeed again after such a failure."""
        with self._lock:
            known, self._trouble = self._trouble, None
        if known:
            log.info("the judge answers again")
            self._notes.set("calls", None)
